//! A program of the common gateway interface (wasm32-wasip1): the query says what it does. `hello` greets, `env` prints arguments and
//! environment, `echo` the body as it comes, `slow` a line each 20 ms, `fail` something and then exit code 3 (which WASI 0.2 passes on as 1), `trap`,
//! `nothing`, `status` a status and a location.

use std::io::{Read, Write};

fn main() {
    let query = std::env::var("QUERY_STRING").unwrap_or_default();
    let mut out = std::io::stdout();
    let mut print = |text: &str| out.write_all(text.as_bytes()).and_then(|()| out.flush());
    let mut text = |text: &str| print(text).expect("it is taken");
    match query.split('&').next().unwrap_or_default() {
        "hello" => text("content-type: text/plain\n\nHello, world!"),
        "env" => {
            text("content-type: text/plain\n\n");
            for argument in std::env::args() {
                text(&format!("argument {argument}\n"));
            }
            for (name, value) in std::env::vars() {
                text(&format!("{name}={value}\n"));
            }
        }
        "echo" => {
            text("content-type: application/octet-stream\n\n");
            let mut buffer = vec![0; 32 << 10];
            loop {
                let count = std::io::stdin().read(&mut buffer).expect("it can be read");
                if count == 0 {
                    break;
                }
                std::io::stdout().write_all(&buffer[..count]).expect("it is taken");
            }
            std::io::stdout().flush().expect("it is taken");
        }
        "slow" => {
            text("content-type: text/plain\n\n");
            for number in 0..10 {
                text(&format!("line {number}\n"));
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            eprintln!("printed all");
        }
        "fail" => {
            text("content-type: text/plain\n\nnever seen");
            std::process::exit(3);
        }
        "trap" => std::process::abort(),
        "nothing" => {}
        "status" => text("Status: 418 Teapot\nLocation: /tea\nX-A: 1\nX-A: 2\n\n"),
        other => text(&format!("content-type: text/plain\n\nwhat is {other:?}?")),
    }
}
