//! Streams: `/events` sends a server-sent event each 30 ms, 20 of them, then prints `sent all`; `/trailers` answers with the
//! request's body and trailers (`x-got` names those that came); `/ticks` sends and prints a line each 10 ms for ever.

use std::io::Write;

use guests::{Request, Responder};
use wasip2::http::types::{Fields, IncomingBody, OutgoingBody, OutgoingResponse, ResponseOutparam};

struct Guest;

impl wasip2::exports::http::incoming_handler::Guest for Guest {
    fn handle(request: wasip2::http::types::IncomingRequest, out: ResponseOutparam) {
        let path = request.path_with_query().unwrap_or_default();
        match path.as_str() {
            "/trailers" => trailers(&request, out),
            "/ticks" => ticks(Responder::new(out)),
            _ => events(Request::new(request), Responder::new(out)),
        }
    }
}

wasip2::http::proxy::export!(Guest);

fn events(request: Request, responder: Responder) {
    drop(request);
    let mut stream = responder.start(200, &[("content-type", "text/event-stream")]);
    for number in 0..20 {
        write!(stream, "data: {number}\n\n").expect("the body is taken");
        stream.flush().expect("the body is taken");
        guests::sleep(30);
    }
    println!("sent all");
    stream.finish();
}

fn ticks(responder: Responder) {
    let mut stream = responder.start(200, &[]);
    for number in 0_u64.. {
        println!("tick {number}");
        // Whether anybody still reads is the host's to know.
        let _ = writeln!(stream, "tick {number}");
        let _ = stream.flush();
        guests::sleep(10);
    }
}

fn trailers(request: &wasip2::http::types::IncomingRequest, out: ResponseOutparam) {
    let body = request.consume().expect("the body is asked for once");
    let stream = body.stream().expect("the stream is asked for once");
    let mut bytes = Vec::new();
    while let Ok(piece) = stream.blocking_read(1024) {
        bytes.extend(piece);
    }
    drop(stream);
    let future = IncomingBody::finish(body);
    future.subscribe().block();
    let came = future.get().expect("they are there").expect("taken once").expect("they came");
    let names = came.map(|fields| fields.entries()).unwrap_or_default();

    let headers = Fields::new();
    headers.append("trailer", b"x-got").expect("it is allowed");
    let response = OutgoingResponse::new(headers);
    let body = response.body().expect("the body is asked for once");
    let stream = body.write().expect("the stream is asked for once");
    ResponseOutparam::set(out, Ok(response));
    stream.blocking_write_and_flush(&bytes).expect("the body is taken");
    drop(stream);
    let fields = Fields::new();
    for (name, value) in names {
        let text = format!("{name}={}", String::from_utf8_lossy(&value));
        fields.append("x-got", text.as_bytes()).expect("it is allowed");
    }
    OutgoingBody::finish(body, Some(fields)).expect("the body ends");
}
