//! Values between the interface and PostgreSQL's binary formats.

use std::error::Error as StdError;

use bytes::BytesMut;
use postgres_types::{FromSql, IsNull, Kind, ToSql, Type};

use super::{decimal, v4};

type BoxError = Box<dyn StdError + Sync + Send>;

/// From the Unix epoch to PostgreSQL's, which is 2000-01-01.
const EPOCH_DAYS: i64 = 10_957;
const DAY_MICROS: i64 = 86_400_000_000;

const RANGE_EMPTY: u8 = 0x01;
const LOWER_INCLUSIVE: u8 = 0x02;
const UPPER_INCLUSIVE: u8 = 0x04;
const NO_LOWER: u8 = 0x08;
const NO_UPPER: u8 = 0x10;

/// A parameter, ready to be sent.
#[derive(Debug)]
pub(super) enum Parameter {
    Null,
    /// Sent as it is; which types it fits is known to the library.
    Bool(bool),
    Char(i8),
    Int2(i16),
    Int4(i32),
    Int8(i64),
    Float4(f32),
    Float8(f64),
    Text(String),
    Bytes(Vec<u8>),
    Json(Vec<u8>),
    /// In binary form, for one of those types.
    Encoded {
        kind: &'static str,
        types: &'static [u32],
        bytes: Vec<u8>,
    },
    TextArray(Vec<Option<String>>),
}

// The numbers of the built-in types, as in `pg_type`.
const DATE: &[u32] = &[1082];
const TIME: &[u32] = &[1083];
const TIMESTAMPS: &[u32] = &[1114, 1184];
const UUID: &[u32] = &[2950];
const NUMERIC: &[u32] = &[1700];
const INTERVAL: &[u32] = &[1186];
const INT4_RANGE: &[u32] = &[3904];
const INT8_RANGE: &[u32] = &[3926];
const NUM_RANGE: &[u32] = &[3906];
const INT4_ARRAY: &[u32] = &[1007];
const INT8_ARRAY: &[u32] = &[1016];
const NUMERIC_ARRAY: &[u32] = &[1231];

impl Parameter {
    /// # Errors
    /// The value is none of its kind, such as a thirteenth month.
    pub(super) fn new(value: v4::ParameterValue) -> Result<Self, String> {
        use v4::ParameterValue as V;
        let encoded = |kind, types, bytes| Self::Encoded { kind, types, bytes };
        Ok(match value {
            V::Boolean(it) => Self::Bool(it),
            V::Int8(it) => Self::Char(it),
            V::Int16(it) => Self::Int2(it),
            V::Int32(it) => Self::Int4(it),
            V::Int64(it) => Self::Int8(it),
            V::Floating32(it) => Self::Float4(it),
            V::Floating64(it) => Self::Float8(it),
            V::Str(it) => Self::Text(it),
            V::Binary(it) => Self::Bytes(it),
            V::Date((y, m, d)) => {
                let days = i32::try_from(days(y, m, d)? - EPOCH_DAYS);
                let days = days.map_err(|_| format!("invalid date y={y}, m={m}, d={d}"))?;
                encoded("date", DATE, days.to_be_bytes().into())
            }
            V::Time((h, m, s, ns)) => {
                encoded("time", TIME, micros(h, m, s, ns)?.to_be_bytes().into())
            }
            V::Datetime((year, month, day, h, m, s, ns)) => {
                let days = (days(year, month, day)? - EPOCH_DAYS).checked_mul(DAY_MICROS);
                let at = days.and_then(|it| it.checked_add(micros(h, m, s, ns).ok()?));
                let at = at.ok_or_else(|| {
                    format!("invalid date and time {year}-{month}-{day} {h}:{m}:{s}:{ns}")
                })?;
                encoded("datetime", TIMESTAMPS, at.to_be_bytes().into())
            }
            V::Timestamp(seconds) => {
                let at = seconds.checked_sub(EPOCH_DAYS * 86_400);
                let at = at.and_then(|it| it.checked_mul(1_000_000));
                let at = at.ok_or_else(|| format!("invalid epoch timestamp {seconds}"))?;
                encoded("timestamp", TIMESTAMPS, at.to_be_bytes().into())
            }
            V::Uuid(text) => {
                let uuid =
                    text.parse::<uuid::Uuid>().map_err(|_| format!("invalid UUID {text}"))?;
                encoded("uuid", UUID, uuid.into_bytes().into())
            }
            V::Jsonb(bytes) => {
                if serde_json::from_slice::<serde_json::Value>(&bytes).is_err() {
                    return Err(format!("invalid JSON {}", String::from_utf8_lossy(&bytes)));
                }
                Self::Json(bytes)
            }
            V::Decimal(text) => encoded("decimal", NUMERIC, number(&text)?),
            V::RangeInt32((lower, upper)) => {
                let bytes = |it: i32| it.to_be_bytes().to_vec();
                encoded("range-int32", INT4_RANGE, range(side(lower, bytes), side(upper, bytes))?)
            }
            V::RangeInt64((lower, upper)) => {
                let bytes = |it: i64| it.to_be_bytes().to_vec();
                encoded("range-int64", INT8_RANGE, range(side(lower, bytes), side(upper, bytes))?)
            }
            V::RangeDecimal((lower, upper)) => {
                let number = |it: Option<(String, _)>| match it {
                    Some((text, kind)) => number(&text).map(|it| Some((it, kind))),
                    None => Ok(None),
                };
                encoded("range-decimal", NUM_RANGE, range(number(lower)?, number(upper)?)?)
            }
            V::ArrayInt32(items) => {
                let items = items.into_iter().map(|it| it.map(|it| it.to_be_bytes().to_vec()));
                encoded("array-int32", INT4_ARRAY, array(23, items.collect())?)
            }
            V::ArrayInt64(items) => {
                let items = items.into_iter().map(|it| it.map(|it| it.to_be_bytes().to_vec()));
                encoded("array-int64", INT8_ARRAY, array(20, items.collect())?)
            }
            V::ArrayDecimal(items) => {
                let items = items.into_iter().map(|it| it.map(|it| number(&it)).transpose());
                encoded(
                    "array-decimal",
                    NUMERIC_ARRAY,
                    array(1700, items.collect::<Result<_, _>>()?)?,
                )
            }
            V::ArrayStr(items) => Self::TextArray(items),
            V::Interval(it) => {
                let mut bytes = it.micros.to_be_bytes().to_vec();
                bytes.extend(it.days.to_be_bytes());
                bytes.extend(it.months.to_be_bytes());
                encoded("interval", INTERVAL, bytes)
            }
            V::DbNull => Self::Null,
        })
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "boolean",
            Self::Char(_) => "int8",
            Self::Int2(_) => "int16",
            Self::Int4(_) => "int32",
            Self::Int8(_) => "int64",
            Self::Float4(_) => "floating32",
            Self::Float8(_) => "floating64",
            Self::Text(_) => "str",
            Self::Bytes(_) => "binary",
            Self::Json(_) => "jsonb",
            Self::Encoded { kind, .. } => kind,
            Self::TextArray(_) => "array-str",
        }
    }

    fn fits(&self, to: &Type) -> bool {
        match self {
            Self::Null => true,
            Self::Bool(_) => <bool as ToSql>::accepts(to),
            Self::Char(_) => <i8 as ToSql>::accepts(to),
            Self::Int2(_) => <i16 as ToSql>::accepts(to),
            Self::Int4(_) => <i32 as ToSql>::accepts(to),
            Self::Int8(_) => <i64 as ToSql>::accepts(to),
            Self::Float4(_) => <f32 as ToSql>::accepts(to),
            Self::Float8(_) => <f64 as ToSql>::accepts(to),
            Self::Text(_) => <String as ToSql>::accepts(to),
            Self::Bytes(_) => <Vec<u8> as ToSql>::accepts(to),
            Self::Json(_) => matches!(*to, Type::JSON | Type::JSONB),
            Self::Encoded { types, .. } => types.contains(&to.oid()),
            Self::TextArray(_) => <Vec<String> as ToSql>::accepts(to),
        }
    }
}

impl ToSql for Parameter {
    fn to_sql(&self, to: &Type, out: &mut BytesMut) -> Result<IsNull, BoxError> {
        match self {
            Self::Null => return Ok(IsNull::Yes),
            Self::Bool(it) => return it.to_sql(to, out),
            Self::Char(it) => return it.to_sql(to, out),
            Self::Int2(it) => return it.to_sql(to, out),
            Self::Int4(it) => return it.to_sql(to, out),
            Self::Int8(it) => return it.to_sql(to, out),
            Self::Float4(it) => return it.to_sql(to, out),
            Self::Float8(it) => return it.to_sql(to, out),
            Self::Text(it) => return it.to_sql(to, out),
            Self::Bytes(it) => return it.to_sql(to, out),
            Self::Json(bytes) => {
                if *to == Type::JSONB {
                    // The version of the format.
                    out.extend_from_slice(&[1]);
                }
                out.extend_from_slice(bytes);
            }
            Self::Encoded { bytes, .. } => out.extend_from_slice(bytes),
            Self::TextArray(items) => {
                let element = match to.kind() {
                    Kind::Array(element) => element.oid(),
                    _ => Type::TEXT.oid(),
                };
                let items = items.iter().map(|it| it.as_ref().map(|it| it.as_bytes().to_vec()));
                out.extend_from_slice(&array(element, items.collect())?);
            }
        }
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn to_sql_checked(&self, to: &Type, out: &mut BytesMut) -> Result<IsNull, BoxError> {
        if !self.fits(to) {
            let kind = self.kind();
            return Err(format!("cannot convert a value of kind {kind} to the type {to}").into());
        }
        self.to_sql(to, out)
    }
}

/// The days from 1970-01-01, of the Gregorian calendar as if it had always been there.
fn days(year: i32, month: u8, day: u8) -> Result<i64, String> {
    let (y, m, d) = (i64::from(year), i64::from(month), i64::from(day));
    let count = count_days(y, m, d);
    if (1..=12).contains(&m) && day_of(count) == (y, month, day) {
        Ok(count)
    } else {
        Err(format!("invalid date y={year}, m={month}, d={day}"))
    }
}

// The calendar's arithmetic: years begin in March, so that the leap day is a year's last, and 400 of them, an era,
// have 146,097 days.
fn count_days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

fn day_of(days: i64) -> (i64, u8, u8) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let small = |it: i64| u8::try_from(it).expect("months and days are small");
    (year, small(month), small(day))
}

fn micros(hour: u8, minute: u8, second: u8, nanos: u32) -> Result<i64, String> {
    if hour > 23 || minute > 59 || second > 59 || nanos > 999_999_999 {
        return Err(format!("invalid time {hour}:{minute}:{second}:{nanos}"));
    }
    let seconds = (i64::from(hour) * 60 + i64::from(minute)) * 60 + i64::from(second);
    Ok(seconds * 1_000_000 + i64::from(nanos / 1_000))
}

fn number(text: &str) -> Result<Vec<u8>, String> {
    decimal::bytes(text).ok_or_else(|| format!("invalid decimal {text}"))
}

type Side<T> = Option<(T, v4::RangeBoundKind)>;

fn side<T>(side: Side<T>, bytes: impl Fn(T) -> Vec<u8>) -> Side<Vec<u8>> {
    side.map(|(value, kind)| (bytes(value), kind))
}

fn length(length: usize) -> Result<[u8; 4], String> {
    i32::try_from(length).map(i32::to_be_bytes).map_err(|_| "a parameter is too large".to_owned())
}

fn range(lower: Side<Vec<u8>>, upper: Side<Vec<u8>>) -> Result<Vec<u8>, String> {
    let flag = |side: &Side<Vec<u8>>, none, inclusive| match side {
        None => none,
        Some((_, v4::RangeBoundKind::Inclusive)) => inclusive,
        Some((_, v4::RangeBoundKind::Exclusive)) => 0,
    };
    let mut bytes =
        vec![flag(&lower, NO_LOWER, LOWER_INCLUSIVE) | flag(&upper, NO_UPPER, UPPER_INCLUSIVE)];
    for (value, _) in [lower, upper].into_iter().flatten() {
        bytes.extend(length(value.len())?);
        bytes.extend(value);
    }
    Ok(bytes)
}

fn array(element: u32, items: Vec<Option<Vec<u8>>>) -> Result<Vec<u8>, String> {
    let has_null = i32::from(items.iter().any(Option::is_none));
    let dimensions = i32::from(!items.is_empty());
    let mut bytes = dimensions.to_be_bytes().to_vec();
    bytes.extend(has_null.to_be_bytes());
    bytes.extend(element.to_be_bytes());
    if !items.is_empty() {
        bytes.extend(length(items.len())?);
        bytes.extend(1_i32.to_be_bytes());
    }
    for item in items {
        match item {
            Some(item) => {
                bytes.extend(length(item.len())?);
                bytes.extend(item);
            }
            None => bytes.extend((-1_i32).to_be_bytes()),
        }
    }
    Ok(bytes)
}

/// What the interface calls a column's type.
pub(super) fn data_type(of: &Type) -> v4::DbDataType {
    use v4::DbDataType as D;
    match *of {
        Type::BOOL => D::Boolean,
        Type::BYTEA => D::Binary,
        Type::FLOAT4 => D::Floating32,
        Type::FLOAT8 => D::Floating64,
        Type::INT2 => D::Int16,
        Type::INT4 => D::Int32,
        Type::INT8 => D::Int64,
        Type::TEXT | Type::VARCHAR | Type::BPCHAR => D::Str,
        Type::TIMESTAMP | Type::TIMESTAMPTZ => D::Datetime,
        Type::DATE => D::Date,
        Type::TIME => D::Time,
        Type::UUID => D::Uuid,
        Type::JSONB => D::Jsonb,
        Type::NUMERIC => D::Decimal,
        Type::INT4_RANGE => D::RangeInt32,
        Type::INT8_RANGE => D::RangeInt64,
        Type::NUM_RANGE => D::RangeDecimal,
        Type::INT4_ARRAY => D::ArrayInt32,
        Type::INT8_ARRAY => D::ArrayInt64,
        Type::NUMERIC_ARRAY => D::ArrayDecimal,
        Type::TEXT_ARRAY | Type::VARCHAR_ARRAY | Type::BPCHAR_ARRAY => D::ArrayStr,
        Type::INTERVAL => D::Interval,
        _ => D::Other(of.name().to_owned()),
    }
}

/// A value as the server sent it.
pub(super) struct Raw(pub(super) v4::DbValue);

impl<'a> FromSql<'a> for Raw {
    fn from_sql(of: &Type, bytes: &'a [u8]) -> Result<Self, BoxError> {
        let malformed = || format!("a value of type {of} that is malformed or out of range").into();
        value(of, bytes).map(Self).ok_or_else(malformed)
    }

    fn from_sql_null(_: &Type) -> Result<Self, BoxError> {
        Ok(Self(v4::DbValue::DbNull))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

fn value(of: &Type, bytes: &[u8]) -> Option<v4::DbValue> {
    use v4::DbValue as V;
    Some(match *of {
        Type::BOOL => V::Boolean(u8::from_be_bytes(bytes.try_into().ok()?) != 0),
        Type::BYTEA => V::Binary(bytes.to_vec()),
        Type::FLOAT4 => V::Floating32(f32::from_be_bytes(bytes.try_into().ok()?)),
        Type::FLOAT8 => V::Floating64(f64::from_be_bytes(bytes.try_into().ok()?)),
        Type::INT2 => V::Int16(i16::from_be_bytes(bytes.try_into().ok()?)),
        Type::INT4 => V::Int32(int4(bytes)?),
        Type::INT8 => V::Int64(int8(bytes)?),
        Type::TEXT | Type::VARCHAR | Type::BPCHAR => V::Str(string(bytes)?),
        Type::TIMESTAMP | Type::TIMESTAMPTZ => {
            let at = int8(bytes)?;
            let (year, month, day) = date(at.div_euclid(DAY_MICROS))?;
            let (hour, minute, second, nanos) = time(at.rem_euclid(DAY_MICROS))?;
            // The infinities are far outside of what PostgreSQL keeps.
            if at == i64::MAX || at == i64::MIN {
                return None;
            }
            V::Datetime((year, month, day, hour, minute, second, nanos))
        }
        Type::DATE => match int4(bytes)? {
            i32::MAX | i32::MIN => return None,
            days => V::Date(date(i64::from(days))?),
        },
        Type::TIME => V::Time(time(int8(bytes)?)?),
        Type::UUID => V::Uuid(uuid::Uuid::from_slice(bytes).ok()?.to_string()),
        Type::JSONB => {
            let [1, json @ ..] = bytes else { return None };
            V::Jsonb(without_spaces(json))
        }
        Type::NUMERIC => V::Decimal(decimal::text(bytes)?),
        Type::INT4_RANGE => V::RangeInt32(bounds(bytes, int4, || 0)?),
        Type::INT8_RANGE => V::RangeInt64(bounds(bytes, int8, || 0)?),
        Type::NUM_RANGE => V::RangeDecimal(bounds(bytes, decimal::text, || "0".to_owned())?),
        Type::INT4_ARRAY => V::ArrayInt32(items(bytes, int4)?),
        Type::INT8_ARRAY => V::ArrayInt64(items(bytes, int8)?),
        Type::NUMERIC_ARRAY => V::ArrayDecimal(items(bytes, decimal::text)?),
        Type::TEXT_ARRAY | Type::VARCHAR_ARRAY | Type::BPCHAR_ARRAY => {
            V::ArrayStr(items(bytes, string)?)
        }
        Type::INTERVAL => {
            let (micros, rest) = bytes.split_at_checked(8)?;
            let (days, months) = rest.split_at_checked(4)?;
            let (micros, days, months) = (int8(micros)?, int4(days)?, int4(months)?);
            V::Interval(v4::Interval { micros, days, months })
        }
        _ => V::Unsupported(bytes.to_vec()),
    })
}

fn int4(bytes: &[u8]) -> Option<i32> {
    Some(i32::from_be_bytes(bytes.try_into().ok()?))
}

fn int8(bytes: &[u8]) -> Option<i64> {
    Some(i64::from_be_bytes(bytes.try_into().ok()?))
}

fn string(bytes: &[u8]) -> Option<String> {
    String::from_utf8(bytes.to_vec()).ok()
}

fn date(days: i64) -> Option<(i32, u8, u8)> {
    let (year, month, day) = day_of(days.checked_add(EPOCH_DAYS)?);
    Some((year.try_into().ok()?, month, day))
}

fn time(micros: i64) -> Option<(u8, u8, u8, u32)> {
    let seconds = micros / 1_000_000;
    let nanos = u32::try_from(micros % 1_000_000).ok()? * 1_000;
    let small = |it: i64| u8::try_from(it).ok();
    Some((small(seconds / 3_600)?, small(seconds / 60 % 60)?, small(seconds % 60)?, nanos))
}

/// JSON as Spin's hosts write it: without spaces between tokens. Numbers stay as they are.
fn without_spaces(json: &[u8]) -> Vec<u8> {
    let mut compact = Vec::with_capacity(json.len());
    let (mut is_in_string, mut is_escaped) = (false, false);
    for byte in json {
        if is_in_string || !byte.is_ascii_whitespace() {
            compact.push(*byte);
        }
        match byte {
            b'"' if !is_escaped => is_in_string = !is_in_string,
            b'\\' if !is_escaped => {
                is_escaped = true;
                continue;
            }
            _ => {}
        }
        is_escaped = false;
    }
    compact
}

/// The part that comes next, whose length is written before it; `Some(None)` is a null.
#[allow(clippy::option_option, reason = "malformed, null, or a value")]
fn part<'a>(bytes: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let (length, rest) = bytes.split_at_checked(4)?;
    let length = int4(length)?;
    *bytes = rest;
    if length == -1 {
        return Some(None);
    }
    let (part, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    *bytes = rest;
    Some(Some(part))
}

/// An empty range is one from nothing to nothing, both exclusive: `none` is that nothing.
fn bounds<T>(
    bytes: &[u8],
    value: impl Fn(&[u8]) -> Option<T>,
    none: impl Fn() -> T,
) -> Option<(Side<T>, Side<T>)> {
    use v4::RangeBoundKind::{Exclusive, Inclusive};
    let (&flags, mut rest) = bytes.split_first()?;
    if flags & RANGE_EMPTY != 0 {
        return Some((Some((none(), Exclusive)), Some((none(), Exclusive))));
    }
    let mut side = |missing, inclusive| {
        if flags & missing != 0 {
            return Some(None);
        }
        let kind = if flags & inclusive != 0 { Inclusive } else { Exclusive };
        Some(Some((value(part(&mut rest)??)?, kind)))
    };
    Some((side(NO_LOWER, LOWER_INCLUSIVE)?, side(NO_UPPER, UPPER_INCLUSIVE)?))
}

fn items<T>(bytes: &[u8], value: impl Fn(&[u8]) -> Option<T>) -> Option<Vec<Option<T>>> {
    let (head, rest) = bytes.split_at_checked(12)?;
    match int4(&head[..4])? {
        0 => return Some(Vec::new()),
        1 => {}
        // Nothing in the interface for arrays of arrays.
        _ => return None,
    }
    let (dimension, mut rest) = rest.split_at_checked(8)?;
    let count = usize::try_from(int4(&dimension[..4])?).ok()?;
    // Each takes four bytes or more, whatever the server says of their number.
    if count > rest.len() / 4 {
        return None;
    }
    let item = |_| match part(&mut rest)? {
        Some(bytes) => value(bytes).map(Some),
        None => Some(None),
    };
    (0..count).map(item).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        for (date, count) in [
            ((1970, 1, 1), 0),
            ((2000, 1, 1), EPOCH_DAYS),
            ((2000, 2, 29), EPOCH_DAYS + 59),
            ((1969, 12, 31), -1),
            ((2400, 2, 29), 157_113),
            ((0, 3, 1), -719_468),
        ] {
            let (year, month, day) = date;
            assert_eq!(days(year, month, day), Ok(count), "{date:?}");
            assert_eq!(day_of(count), (i64::from(year), month, day));
        }
        for bad in [(2023, 2, 29), (1900, 2, 29), (2000, 13, 1), (2000, 0, 1), (2000, 4, 31)] {
            let text = format!("invalid date y={}, m={}, d={}", bad.0, bad.1, bad.2);
            assert_eq!(days(bad.0, bad.1, bad.2), Err(text));
        }
        assert!((-200_000..200_000).all(|day| {
            let (y, m, d) = day_of(day);
            count_days(y, m.into(), d.into()) == day
        }));
    }

    #[test]
    fn json_loses_spaces_between_tokens_only() {
        let json = br#"{"a b": [1, 2.50, "x \" y\\"], "c": null}"#;
        assert_eq!(without_spaces(json), br#"{"a b":[1,2.50,"x \" y\\"],"c":null}"#);
    }

    #[test]
    fn what_a_server_sends_of_any_length_is_a_value_or_none() {
        let types = [
            Type::BOOL,
            Type::FLOAT4,
            Type::INT2,
            Type::INT4,
            Type::INT8,
            Type::TIMESTAMP,
            Type::DATE,
            Type::TIME,
            Type::UUID,
            Type::JSONB,
            Type::NUMERIC,
            Type::INT4_RANGE,
            Type::NUM_RANGE,
            Type::INT4_ARRAY,
            Type::NUMERIC_ARRAY,
            Type::TEXT_ARRAY,
            Type::INTERVAL,
        ];
        for of in types {
            for length in 0..64 {
                for byte in [0, 1, 0x7f, 0x80, 0xff] {
                    value(&of, &vec![byte; length]);
                }
            }
        }
        // An array that claims two thousand million elements.
        let mut hostile = vec![0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 23];
        hostile.extend([0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 1, 0, 0, 0, 0]);
        assert!(value(&Type::INT4_ARRAY, &hostile).is_none());
    }
}
