//! PostgreSQL's `numeric` in its binary form, and as text, exactly.

use std::fmt::Write as _;

/// Digits before and after the decimal point that PostgreSQL keeps.
const MAX_WHOLE: usize = 131_072;
const MAX_FRACTION: usize = 16_383;

const NEGATIVE: u16 = 0x4000;
const NAN: u16 = 0xC000;
const INFINITY: u16 = 0xD000;
const NEGATIVE_INFINITY: u16 = 0xF000;

/// The text of a number in binary form; none if it is malformed.
pub(super) fn text(bytes: &[u8]) -> Option<String> {
    let mut words = bytes.chunks_exact(2).map(|it| u16::from_be_bytes([it[0], it[1]]));
    let count = usize::from(words.next()?);
    let weight = i32::from(words.next()?.cast_signed());
    let sign = words.next()?;
    let scale = usize::from(words.next()?);
    let groups: Vec<u16> = words.collect();
    if groups.len() != count || !bytes.len().is_multiple_of(2) || groups.iter().any(|it| *it > 9999)
    {
        return None;
    }
    match sign {
        NAN => return Some("NaN".to_owned()),
        INFINITY => return Some("Infinity".to_owned()),
        NEGATIVE_INFINITY => return Some("-Infinity".to_owned()),
        0 | NEGATIVE => {}
        _ => return None,
    }
    // The group for ten thousand to the power of `exponent`.
    let group = |exponent: i32| {
        let index = usize::try_from(weight - exponent).ok();
        index.and_then(|index| groups.get(index)).copied().unwrap_or(0)
    };
    let mut text = String::new();
    for exponent in (0..=weight).rev() {
        let _ = write!(text, "{:04}", group(exponent));
    }
    let whole = text.trim_start_matches('0');
    let whole = if whole.is_empty() { "0" } else { whole };
    let mut text = format!("{}{whole}", if sign == NEGATIVE { "-" } else { "" });
    if scale > 0 {
        text.push('.');
        let end = text.len() + scale;
        let mut exponent = -1;
        while text.len() < end {
            let _ = write!(text, "{:04}", group(exponent));
            exponent -= 1;
        }
        text.truncate(end);
    }
    Some(text)
}

/// The binary form of a number as text: digits with an optional sign and point, `NaN`, `Infinity`.
pub(super) fn bytes(text: &str) -> Option<Vec<u8>> {
    let special = |sign: u16| [0, 0, sign, 0].into_iter().flat_map(u16::to_be_bytes).collect();
    match text {
        "NaN" => return Some(special(NAN)),
        "Infinity" => return Some(special(INFINITY)),
        "-Infinity" => return Some(special(NEGATIVE_INFINITY)),
        _ => {}
    }
    let (sign, digits) = match text.as_bytes().first()? {
        b'-' => (NEGATIVE, &text[1..]),
        b'+' => (0, &text[1..]),
        _ => (0, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let is_number = |part: &str| part.bytes().all(|it| it.is_ascii_digit());
    let is_empty = whole.is_empty() && fraction.is_empty();
    if is_empty || !is_number(whole) || !is_number(fraction) {
        return None;
    }
    let scale = fraction.len();
    let whole = whole.trim_start_matches('0');
    if whole.len() > MAX_WHOLE || scale > MAX_FRACTION {
        return None;
    }
    // Both parts are filled up to whole groups of four.
    let whole_groups = whole.len().div_ceil(4);
    let mut digits = "0".repeat(whole_groups * 4 - whole.len());
    digits.push_str(whole);
    digits.push_str(fraction);
    while !digits.len().is_multiple_of(4) {
        digits.push('0');
    }
    let number = |it: &[u8]| it.iter().fold(0_u16, |sum, digit| sum * 10 + u16::from(digit - b'0'));
    let mut groups: Vec<u16> = digits.as_bytes().chunks(4).map(number).collect();
    let leading = groups.iter().take_while(|it| **it == 0).count();
    groups.drain(..leading);
    while groups.last() == Some(&0) {
        groups.pop();
    }
    let weight = i16::try_from(whole_groups).ok()? - 1 - i16::try_from(leading).ok()?;
    let (weight, sign) = if groups.is_empty() { (0, 0) } else { (weight, sign) };
    let head = [
        u16::try_from(groups.len()).ok()?,
        weight.cast_unsigned(),
        sign,
        u16::try_from(scale).ok()?,
    ];
    Some(head.into_iter().chain(groups).flat_map(u16::to_be_bytes).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_survive_exactly() {
        let long = format!("{}.{}", "9".repeat(1000), "123456789".repeat(100));
        for number in [
            "0",
            "0.00",
            "1",
            "-1",
            "10000",
            "9999",
            "10001.0001",
            "0.0001",
            "0.00001",
            "-0.5",
            "123456789012345678901234567890.000000000000000000000000000001",
            "1000000000000",
            "NaN",
            "Infinity",
            "-Infinity",
            &long,
        ] {
            assert_eq!(text(&bytes(number).unwrap()).as_deref(), Some(number));
        }
        assert_eq!(text(&bytes("+007.50").unwrap()).unwrap(), "7.50");
        assert_eq!(text(&bytes(".5").unwrap()).unwrap(), "0.5");
    }

    #[test]
    fn what_is_no_number_is_none() {
        for bad in ["", "-", ".", "1e5", "1,5", "1.2.3", "0x10", " 1", "--1", "é"] {
            assert_eq!(bytes(bad), None, "{bad}");
        }
        assert_eq!(bytes(&"1".repeat(MAX_WHOLE + 1)), None);
        assert_eq!(bytes(&format!("0.{}", "1".repeat(MAX_FRACTION + 1))), None);
        for bad in [&[][..], &[0, 1], &[0, 2, 0, 0, 0, 0, 0, 0, 0, 1], &[0; 9]] {
            assert_eq!(text(bad), None, "{bad:?}");
        }
        assert_eq!(text(&[0, 1, 0, 0, 0, 0, 0, 0, 0x27, 0x10]), None, "a digit of ten thousand");
    }
}
