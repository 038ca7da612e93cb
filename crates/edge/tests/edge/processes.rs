//! A port belongs to one process, although the threads of that process share it.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Command, Stdio},
};

use gyre_edge::{BindError, Edge, EdgeConfig};

/// Set for the other process: the address to take.
const ADDRESS: &str = "GYRE_EDGE_TEST_ADDRESS";

#[test]
fn a_port_that_another_process_serves_is_refused() {
    if let Ok(address) = std::env::var(ADDRESS) {
        return be_the_other_process(&address);
    }
    let mut other = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "--nocapture",
            "processes::a_port_that_another_process_serves_is_refused",
        ])
        .env(ADDRESS, "127.0.0.1:0")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(other.stdout.take().unwrap()).lines();
    let address = lines
        .map_while(Result::ok)
        .find_map(|line| line.split_once("holding ").map(|(_, address)| address.to_owned()))
        .expect("the other process says what it holds");
    let config = EdgeConfig::server(vec![address.parse().unwrap()]);
    let refused = Edge::bind(config.clone()).map(|bound| bound.local_addr());
    drop(other.stdin.take());
    other.wait().unwrap();
    assert!(matches!(refused, Err(BindError::InUse(_))), "{refused:?}");
    assert!(Edge::bind(config).is_ok(), "it is free once the other process is gone");
}

#[allow(clippy::print_stdout, reason = "it is how the other process is heard")]
fn be_the_other_process(address: &str) {
    let bound = Edge::bind(EdgeConfig::server(vec![address.parse().unwrap()])).unwrap();
    println!("holding {}", bound.local_addr());
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}
