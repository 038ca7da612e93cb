//! A program: prints its arguments, a variable of its environment and what it reads, and ends as its first argument says.

use std::io::Read as _;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let mut input = String::new();
    std::io::stdin().read_to_string(&mut input).expect("it is text");
    let mark = std::env::var("MARK").unwrap_or_default();
    println!("arguments: {arguments:?}");
    println!("mark: {mark}");
    println!("input: {input}");
    eprintln!("to standard error");
    match arguments.first().map(String::as_str) {
        Some("panic") => panic!("it was to panic"),
        Some(code) => std::process::exit(code.parse().unwrap_or(0)),
        None => {}
    }
}
