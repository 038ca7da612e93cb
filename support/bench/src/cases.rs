//! What `bench full` measures: the cases, and what each has to reach.

use anyhow::Result;

use crate::{
    app::App,
    bars::{Bar, Bound},
    compare::{Bench, Lane, Metric, Request},
    hello::GREETING,
    latency, neighbour,
    section::Section,
    servers::Host,
    start,
};

/// Something that is measured.
pub(crate) struct Case {
    /// What `--only` calls it.
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) measure: fn(&Bench<'_>) -> Result<Section>,
}

/// All of them, in the order they are measured.
pub(crate) const CASES: [Case; 13] = [
    Case {
        name: "hello",
        title: "Hello, WASI 0.2, a fresh instance for each request",
        measure: hello,
    },
    Case { name: "hello-0.3", title: "Hello, WASI 0.3, instances used again", measure: hello_0_3 },
    Case {
        name: "javascript",
        title: "A JavaScript application of Spin's SDK, a fresh instance for each request",
        measure: |bench| sample(bench, "js", "/js", "Hello from JavaScript at /js"),
    },
    Case {
        name: "python",
        title: "A Python application of Spin's SDK, a fresh instance for each request",
        measure: |bench| sample(bench, "python3", "/", "Greetings from Python"),
    },
    Case { name: "latency", title: "Hello at half the peak rate", measure: latency::measure },
    Case { name: "data", title: "One operation on a store for each request", measure: data },
    Case {
        name: "bytes-64k",
        title: "A response body of 64 KiB",
        measure: |bench| bytes(bench, 64 << 10, "64 KiB response body"),
    },
    Case {
        name: "bytes-1m",
        title: "A response body of 1 MiB",
        measure: |bench| bytes(bench, 1 << 20, "1 MiB response body"),
    },
    Case { name: "echo-1m", title: "A body of 1 MiB, sent back as it comes", measure: echo },
    Case { name: "log", title: "A line printed by each request", measure: log },
    Case { name: "wagi", title: "Hello by the common gateway interface", measure: wagi },
    Case {
        name: "neighbour",
        title: "Hello at half its peak rate beside an application that never ends",
        measure: neighbour::measure,
    },
    Case {
        name: "start",
        title: "First request to an application that is known but not loaded",
        measure: start::measure,
    },
];

/// The bars that no case measures.
pub(crate) fn unmeasured() -> Vec<Bar> {
    let bar = |measure: &str, bound, unit| Bar {
        measure: measure.to_owned(),
        bound,
        unit,
        measured: Err("no case of this program does it".to_owned()),
    };
    vec![
        bar("pooled instantiation of a 2 MB Rust component, p50", Bound::AtMost(25.0), "µs"),
        bar("first request after a deploy, compile included", Bound::Known, "ms"),
        bar("resident, per app known but not loaded, of 10,000", Bound::AtMost(64.0), "KiB"),
        bar("resident, per app loaded and idle, of 10,000", Bound::AtMost(1.0), "MiB"),
        bar("routing table swap with 10,000 apps", Bound::AtMost(10.0), "ms"),
        bar("Zipf load over 10,000 apps", Bound::AtLeast(0.5), "× hello"),
        bar("server's start with 10,000 apps known", Bound::AtMost(1.0), "s"),
    ]
}

/// The greeting of the guest programs.
pub(crate) fn greeting() -> Request {
    Request::get("/", GREETING)
}

/// What reads one value from a key-value store on a Gyre server.
pub(crate) fn key_value_read(bench: &Bench<'_>) -> Lane {
    operation(bench, "key-value read", "/read", GREETING)
}

fn operation(bench: &Bench<'_>, name: &str, path: &str, answer: &str) -> Lane {
    let app = App::measured(bench.tools);
    let request = Request::get(path, answer);
    let lane = Lane::named(name, Host::GyreServer, app, request);
    Lane { before: Some("/prepare"), ..lane }
}

fn bar(
    measure: impl Into<String>,
    bound: Bound,
    unit: &'static str,
    measured: Result<f64, String>,
) -> Bar {
    Bar { measure: measure.into(), bound, unit, measured }
}

const HYPER: &str = "bare hyper";
const GYRE: &str = "gyre server";
const SPIN: &str = "spin up";
/// Of these, the faster one counts.
const WASMTIME: [&str; 2] = ["wasmtime serve, tuned", "wasmtime serve"];

/// The hosts with the greeting.
pub(crate) fn hello_lanes(bench: &Bench<'_>, hosts: &[Host]) -> Vec<Lane> {
    let lane = |host: &Host| Lane::new(*host, App::hello(bench.tools), greeting());
    hosts.iter().map(lane).collect()
}

/// The hosts with the greeting of WASI 0.3.
pub(crate) fn hello_0_3_lanes(bench: &Bench<'_>, hosts: &[Host]) -> Vec<Lane> {
    let lane = |host: &Host| Lane::new(*host, App::hello_0_3(bench.tools), greeting());
    hosts.iter().map(lane).collect()
}

fn hello(bench: &Bench<'_>) -> Result<Section> {
    let compared = bench.compare(&hello_lanes(bench, &Host::ALL))?;
    let rate = |to| compared.ratio(Metric::Rate, GYRE, to);
    let bars = vec![
        bar("hello, fresh instance", Bound::AtLeast(8.0), "× spin up", rate(SPIN)),
        bar(
            "hello, fresh instance",
            Bound::AtLeast(2.0),
            "× wasmtime serve at its best",
            compared.ratio_to_best(GYRE, &WASMTIME),
        ),
        bar("hello, fresh instance", Bound::AtLeast(0.33), "× bare hyper", rate(HYPER)),
    ];
    Ok(Section::of(compared, Metric::Rate, bars))
}

fn hello_0_3(bench: &Bench<'_>) -> Result<Section> {
    let hosts = [Host::Hyper, Host::GyreServer, Host::Wasmtime, Host::WasmtimeTuned, Host::Spin];
    let compared = bench.compare(&hello_0_3_lanes(bench, &hosts))?;
    let bars = vec![
        bar(
            "hello of WASI 0.3, instances used again",
            Bound::AtLeast(3.0),
            "× wasmtime serve at its best",
            compared.ratio_to_best(GYRE, &WASMTIME),
        ),
        bar(
            "hello of WASI 0.3, instances used again",
            Bound::AtLeast(0.4),
            "× bare hyper",
            compared.ratio(Metric::Rate, GYRE, HYPER),
        ),
    ];
    let section = Section::of(compared, Metric::Rate, bars);
    Ok(section.note("Each host uses an instance again as often as it does by default."))
}

fn sample(bench: &Bench<'_>, name: &str, path: &str, answer: &str) -> Result<Section> {
    let lane = |host| Lane::new(host, App::sample(bench.tools, name), Request::get(path, answer));
    let compared = bench.compare(&[lane(Host::GyreServer), lane(Host::Spin)])?;
    let measure = if name == "js" { "JavaScript" } else { "Python" };
    let rate = compared.ratio(Metric::Rate, GYRE, SPIN);
    let bars = vec![bar(
        format!("{measure} hello, fresh instance"),
        Bound::AtLeast(5.0),
        "× spin up",
        rate,
    )];
    Ok(Section::of(compared, Metric::Rate, bars))
}

fn data(bench: &Bench<'_>) -> Result<Section> {
    const HELLO: &str = "hello";
    const READ: &str = "key-value read";
    const SELECT: &str = "SQLite select of one row";
    const WRITE: &str = "key-value write";
    let compared = bench.compare(&[
        Lane::named(HELLO, Host::GyreServer, App::hello(bench.tools), greeting()),
        operation(bench, READ, "/read", GREETING),
        operation(bench, SELECT, "/select", GREETING),
        operation(bench, WRITE, "/write", "written"),
    ])?;
    let rate = |of| compared.ratio(Metric::Rate, of, HELLO);
    let bars = vec![
        bar(READ, Bound::AtLeast(0.7), "× hello", rate(READ)),
        bar(SELECT, Bound::AtLeast(0.7), "× hello", rate(SELECT)),
        bar(WRITE, Bound::Known, "× hello", rate(WRITE)),
    ];
    let section = Section::of(compared, Metric::Rate, bars);
    Ok(section.note("All on `gyre server`; stores are as durable as they are by default."))
}

/// A request whose body or answer is large, beside a bare server that does the same.
fn bodies(bench: &Bench<'_>, request: &Request, measure: &str) -> Result<Section> {
    let lane = |host| Lane::new(host, App::measured(bench.tools), request.clone());
    let compared = bench.compare(&[lane(Host::Hyper), lane(Host::GyreServer)])?;
    let rate = compared.ratio(Metric::Rate, GYRE, HYPER);
    let bars = vec![bar(measure, Bound::AtLeast(0.5), "× bare hyper", rate)];
    Ok(Section::of(compared, Metric::Rate, bars))
}

/// Bytes that show when a piece of them is missing, doubled or in another place.
fn varied(count: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    (0..count).map(|_| next()).collect()
}

fn bytes(bench: &Bench<'_>, count: usize, measure: &str) -> Result<Section> {
    let request = Request::get(&format!("/bytes/{count}"), vec![b'x'; count]);
    bodies(bench, &request, measure)
}

fn echo(bench: &Bench<'_>) -> Result<Section> {
    bodies(bench, &Request::echo("/echo", varied(1 << 20)), "1 MiB echo")
}

fn log(bench: &Bench<'_>) -> Result<Section> {
    const SILENT: &str = "silent";
    const PRINTING: &str = "printing a line";
    let lane = |name, path| {
        let app = App::measured(bench.tools);
        Lane::named(name, Host::GyreServer, app, Request::get(path, GREETING))
    };
    let compared = bench.compare(&[lane(SILENT, "/"), lane(PRINTING, "/print")])?;
    let rate = compared.ratio(Metric::Rate, PRINTING, SILENT);
    let bars =
        vec![bar("one line printed per request", Bound::AtLeast(0.9), "× the silent one", rate)];
    Ok(Section::of(compared, Metric::Rate, bars))
}

fn wagi(bench: &Bench<'_>) -> Result<Section> {
    const COMPONENT: &str = "component hello";
    const WAGI: &str = "WAGI hello";
    let compared = bench.compare(&[
        Lane::named(COMPONENT, Host::GyreServer, App::hello(bench.tools), greeting()),
        Lane::named(
            WAGI,
            Host::GyreServer,
            App::wagi(bench.tools),
            Request::get("/?hello", GREETING),
        ),
    ])?;
    let rate = compared.ratio(Metric::Rate, WAGI, COMPONENT);
    let bars = vec![bar(WAGI, Bound::AtLeast(0.5), "× the component hello", rate)];
    Ok(Section::of(compared, Metric::Rate, bars))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_case_has_a_name_of_its_own() {
        let names: BTreeSet<&str> = CASES.iter().map(|case| case.name).collect();
        assert_eq!(names.len(), CASES.len());
    }

    #[test]
    fn no_two_pieces_of_an_echoed_body_are_alike() {
        let body = varied(1 << 20);
        let pieces: BTreeSet<&[u8]> = body.chunks(1024).collect();
        assert_eq!(pieces.len(), 1024);
    }
}
