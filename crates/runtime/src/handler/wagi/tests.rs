//! Programs' responses, piece by piece.

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use wasmtime_wasi::p2::OutputStream as _;

use super::{
    HELD_BYTES, environment,
    head::{self, HeadError},
    streams::Output,
};

fn parse(text: &str) -> Result<(u16, Vec<(String, String)>), HeadError> {
    let head = head::parse(text.as_bytes())?;
    let pair = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        (name.to_string(), value.to_str().unwrap().to_owned())
    };
    Ok((head.status.as_u16(), head.headers.iter().map(pair).collect()))
}

#[test]
fn heads_are_read_as_spin_reads_them() {
    let kind = ("content-type".to_owned(), "text/plain".to_owned());
    assert_eq!(parse("Content-Type: text/plain").unwrap(), (200, vec![kind.clone()]));
    assert_eq!(parse("Status: 404 Not Here\r\n").unwrap(), (404, Vec::new()));
    assert_eq!(parse("status: nonsense").unwrap(), (502, Vec::new()));
    let location = ("location".to_owned(), "/there".to_owned());
    assert_eq!(parse("Location: /there").unwrap(), (302, vec![location.clone()]));
    assert_eq!(parse("Status: 301\nLocation: /there").unwrap(), (301, vec![location.clone()]));
    assert_eq!(parse("Location: /there\nStatus: 307").unwrap(), (307, vec![location]));
    let both = parse("Content-Type: text/plain\nSet-Cookie: a\nSet-Cookie: b:c").unwrap().1;
    let cookie = |value: &str| ("set-cookie".to_owned(), value.to_owned());
    assert_eq!(both, [kind, cookie("a"), cookie("b:c")]);
    assert_eq!(parse("X-Other: 1").unwrap_err(), HeadError::Kind);
    assert_eq!(parse("no colon").unwrap_err(), HeadError::Line("no colon".to_owned()));
    assert_eq!(parse("a b: c").unwrap_err(), HeadError::Line("a b: c".to_owned()));
    assert_eq!(head::end(b"a: b\n\nbody"), Some((5, 6)));
    assert_eq!(head::end(b"a: b\r\n\r\nbody"), Some((6, 8)));
    assert_eq!(head::end(b"\nbody"), Some((0, 1)));
    assert_eq!(head::end(b"a: b\n"), None);
}

#[test]
fn arguments_are_the_path_and_the_parts_of_the_query() {
    let uri = "http://x/a%20b?x=1&y=2".parse().unwrap();
    assert_eq!(environment::arguments("${SCRIPT_NAME} ${ARGS}", &uri), ["/a%20b", "x=1", "y=2"]);
    assert_eq!(
        environment::arguments("run --path ${SCRIPT_NAME}", &uri),
        ["run", "--path", "/a%20b"]
    );
}

#[test]
fn the_components_environment_cannot_pass_for_the_request() {
    let request = Request::get("http://x/?q").header("x-a", "1").header("authorization", "secret");
    let (head, ()) = request.header("spin-path-info", "/").body(()).unwrap().into_parts();
    let mut env = [("QUERY_STRING", "mine"), ("HTTP_X_A", "mine"), ("MINE", "mine")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec();
    environment::add(&mut env, &head, false);
    let value = |name: &str| {
        let mut found =
            env.iter().filter(|(each, _)| each == name).map(|(_, value)| value.as_str());
        let value = found.next();
        assert_eq!(found.next(), None, "{name} is there twice");
        value
    };
    assert_eq!(value("QUERY_STRING"), Some("q"));
    assert_eq!(value("HTTP_X_A"), Some("1"));
    assert_eq!(value("MINE"), Some("mine"));
    assert_eq!(value("PATH_INFO"), Some("/"));
    assert_eq!(value("SERVER_PORT"), Some("80"));
    assert_eq!(value("HTTP_AUTHORIZATION"), None);
    assert_eq!(value("HTTP_SPIN_PATH_INFO"), None);
}

#[tokio::test]
async fn a_short_response_is_whole_and_a_long_one_flows() {
    let mut output = Output::default();
    let head = "content-type: a/b\n\n";
    output.write(Bytes::from(head)).unwrap();
    output.write(Bytes::from("body")).unwrap();
    let response = output.finish().unwrap().unwrap();
    assert_eq!(response.body().size_hint().exact(), Some(4));
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "body");

    let mut output = Output::default();
    output.write(Bytes::from(head)).unwrap();
    output.write(vec![b'a'; HELD_BYTES].into()).unwrap();
    assert_eq!(output.check_write().unwrap(), 0, "it is held back until somebody releases it");
    let response = output.release().unwrap();
    assert!(output.release().is_none());
    assert!(output.check_write().unwrap() > 0);
    output.write(Bytes::from("more")).unwrap();
    assert!(output.finish().unwrap().is_none());
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body.len(), HELD_BYTES + 4);
}

#[tokio::test]
async fn what_is_cut_off_is_no_whole_body() {
    let mut output = Output::default();
    output.write(Bytes::from("content-type: a/b\n\nhalf")).unwrap();
    let response = output.release().unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    output.abandon();
    assert!(response.into_body().collect().await.is_err());
    assert!(output.write(Bytes::from("late")).is_err());
}

#[test]
fn what_is_no_response_is_an_error() {
    let printed = |text: &str| {
        let mut output = Output::default();
        if !text.is_empty() {
            output.write(Bytes::copy_from_slice(text.as_bytes())).unwrap();
        }
        output.finish().map(drop).unwrap_err()
    };
    assert_eq!(printed(""), HeadError::Empty);
    assert_eq!(printed("content-type: a/b\n"), HeadError::Unfinished);
    assert_eq!(printed("x-a: b\n\nbody"), HeadError::Kind);
    assert_eq!(printed(&"a".repeat(70_000)), HeadError::TooLong);
}
