//! `fermyon:spin/sqlite@2.0.0` by hand: executes the request's body (one statement) with the parameters
//! `?p=` (texts, separated by commas; `#7` is an integer, `~` null, `@4k` a blob of 4096 bytes) on
//! `?database=`, and answers with the columns and rows as tab-separated lines. An error is 500 and its name.

use guests::spin::sqlite::{Connection, Error, Value};
use guests::{Request, Responder};

guests::serve!(handle);

fn handle(request: Request, responder: Responder) {
    match answer(&request) {
        Ok(text) => responder.text(text),
        Err(error) => responder.send(500, &[], format!("{error:?}")),
    }
}

fn answer(request: &Request) -> Result<String, Error> {
    let database = request.query("database").unwrap_or_else(|| "default".to_owned());
    let parameters: Vec<Value> =
        request.query("p").map(|list| list.split(',').map(parameter).collect()).unwrap_or_default();
    let connection = Connection::open(&database)?;
    let statement = String::from_utf8(request.bytes()).expect("SQL is text");
    let result = connection.execute(&statement, &parameters)?;
    let mut lines = vec![result.columns.join("\t")];
    for row in result.rows {
        lines.push(row.values.iter().map(show).collect::<Vec<_>>().join("\t"));
    }
    Ok(lines.join("\n"))
}

fn parameter(text: &str) -> Value {
    if text == "~" {
        Value::Null
    } else if let Some(number) = text.strip_prefix('#') {
        Value::Integer(number.parse().expect("a number follows #"))
    } else if let Some(size) = text.strip_prefix('@') {
        let kibibytes: usize = size.trim_end_matches('k').parse().expect("a size follows @");
        Value::Blob(vec![7; kibibytes * 1024])
    } else {
        Value::Text(text.to_owned())
    }
}

fn show(value: &Value) -> String {
    match value {
        Value::Integer(number) => number.to_string(),
        Value::Real(number) => format!("{number:?}"),
        Value::Text(text) => text.clone(),
        Value::Blob(bytes) => format!("{} bytes", bytes.len()),
        Value::Null => "null".to_owned(),
    }
}
