//! Tests of the triggers besides HTTP, with guests of a few lines.

use super::*;

#[test]
fn addresses_are_read() {
    let read = |text: &str| {
        server("redis", text, &["redis"], &["rediss"], (6379, 6380)).map(|(it, _)| it.to_string())
    };
    assert_eq!(read("redis://localhost").unwrap(), "localhost:6379");
    assert_eq!(read("redis://u:p@127.0.0.1:1/2").unwrap(), "127.0.0.1:1");
    assert_eq!(read("rediss://[::1]").unwrap(), "[::1]:6380");
    let error = |text| read(text).unwrap_err().to_string();
    assert!(error("http://u:geheim@h").starts_with("invalid redis address \"http://u@h/\":"));
    assert!(error("redis://").contains("it has no host"));
    assert!(error("nonsense").contains("relative URL without a base"));
}
