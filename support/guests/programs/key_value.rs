//! `fermyon:spin/key-value@2.0.0` by hand: `/get /set /delete /exists /keys /increment`, with `?key=` and
//! optionally `?store=`. An error is answered with 500 and its name. `/increment` is read, add, write: it
//! answers only after the write was acknowledged.

use guests::spin::key_value::{Error, Store};
use guests::{Request, Responder};

guests::serve!(handle);

fn handle(request: Request, responder: Responder) {
    match answer(&request) {
        Ok(Some(bytes)) => responder.send(200, &[], bytes),
        Ok(None) => responder.send(404, &[], ""),
        Err(error) => responder.send(500, &[], format!("{error:?}")),
    }
}

fn answer(request: &Request) -> Result<Option<Vec<u8>>, Error> {
    let label = request.query("store").unwrap_or_else(|| "default".to_owned());
    let key = request.query("key").unwrap_or_else(|| "key".to_owned());
    let store = Store::open(&label)?;
    let path = request.path();
    Ok(match path.rsplit('/').next().unwrap_or_default() {
        "set" => {
            store.set(&key, &request.bytes())?;
            Some(Vec::new())
        }
        "delete" => {
            store.delete(&key)?;
            Some(Vec::new())
        }
        "exists" => Some(store.exists(&key)?.to_string().into_bytes()),
        "keys" => {
            let mut keys = store.get_keys()?;
            keys.sort();
            Some(keys.join("\n").into_bytes())
        }
        "increment" => {
            let text = store.get(&key)?.unwrap_or_else(|| b"0".to_vec());
            let number: i64 = String::from_utf8_lossy(&text).parse().unwrap_or(0);
            let text = (number + 1).to_string().into_bytes();
            store.set(&key, &text)?;
            Some(text)
        }
        _ => store.get(&key)?,
    })
}
