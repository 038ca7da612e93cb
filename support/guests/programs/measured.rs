//! What the measurements call beside `hello`: each path does one thing, once. `/` answers, `/print` prints a line, too;
//! `/read` and `/write` are one operation on a key-value store, `/select` takes one row from a SQLite database;
//! `/bytes/<n>` sends so many bytes, `/echo` the body as it comes. `/prepare` makes what they read.

use std::io::Write;

use guests::spin::key_value::Store;
use guests::spin::sqlite::{Connection, Value};
use guests::{Request, Responder};

guests::serve!(handle);

const TEXT: &str = "Hello, world!";
const KEY: &str = "greeting";

fn handle(request: Request, responder: Responder) {
    let path = request.path();
    match path.as_str() {
        "/" => responder.text(TEXT),
        "/print" => {
            println!("a line of a request");
            responder.text(TEXT);
        }
        "/read" => {
            let value = store().get(KEY).expect("it can be read");
            responder.send(200, &[("content-type", "text/plain")], value.expect("it is there"));
        }
        "/write" => {
            store().set(KEY, TEXT.as_bytes()).expect("it can be written");
            responder.text("written");
        }
        "/select" => responder.text(select()),
        "/prepare" => {
            prepare();
            responder.text("prepared");
        }
        "/echo" => echo(&request, responder),
        other => match other.strip_prefix("/bytes/").and_then(|count| count.parse().ok()) {
            Some(count) => responder.send(200, &[], vec![b'x'; count]),
            None => responder.send(404, &[], "no such path"),
        },
    }
}

fn store() -> Store {
    Store::open("default").expect("the store can be opened")
}

fn select() -> String {
    let database = Connection::open("default").expect("the database can be opened");
    let statement = "SELECT text FROM greetings WHERE id = ?";
    let result = database.execute(statement, &[Value::Integer(7)]).expect("it can be read");
    let value = result.rows.into_iter().next().and_then(|row| row.values.into_iter().next());
    let Some(Value::Text(text)) = value else { panic!("one row with a text was expected") };
    text
}

fn prepare() {
    store().set(KEY, TEXT.as_bytes()).expect("it can be written");
    let database = Connection::open("default").expect("the database can be opened");
    let execute = |statement: &str, parameters: &[Value]| {
        database.execute(statement, parameters).expect("it can be executed");
    };
    execute("CREATE TABLE IF NOT EXISTS greetings (id INTEGER PRIMARY KEY, text TEXT)", &[]);
    for id in 1..=10 {
        let parameters = [Value::Integer(id), Value::Text(TEXT.to_owned())];
        execute("INSERT OR REPLACE INTO greetings (id, text) VALUES (?, ?)", &parameters);
    }
}

fn echo(request: &Request, responder: Responder) {
    let length = request.header("content-length");
    let mut headers = vec![("content-type", "application/octet-stream")];
    headers.extend(length.as_deref().map(|length| ("content-length", length)));
    let mut body = request.body();
    let mut stream = responder.start(200, &headers);
    while let Some(piece) = body.piece() {
        stream.write_all(&piece).expect("the body is taken");
    }
    stream.finish();
}
