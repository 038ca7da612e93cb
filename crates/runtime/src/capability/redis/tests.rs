//! What Redis answers, as guests see it.

use redis::Value;

use super::*;

#[test]
fn answers_are_taken_apart() {
    let parts = |value| {
        let mut parts = Vec::new();
        flatten(value, &mut parts).map(|()| parts)
    };
    let binary = |text: &str| Answer::Binary(text.as_bytes().to_vec());
    let nested = Value::Array(vec![
        Value::Int(1),
        Value::Set(vec![Value::BulkString(b"a".to_vec()), Value::Nil]),
        Value::Okay,
        Value::SimpleString("PONG".to_owned()),
        Value::Double(1.5),
        Value::Boolean(true),
    ]);
    let expected = vec![
        Answer::Integer(1),
        binary("a"),
        Answer::Nil,
        Answer::Status("OK".to_owned()),
        Answer::Status("PONG".to_owned()),
        binary("1.5"),
        binary("true"),
    ];
    assert_eq!(parts(nested).unwrap(), expected);
    let map = Value::Map(vec![(Value::Int(1), Value::Int(2))]);
    assert!(matches!(parts(map), Err(Error::Other(_))));
}
