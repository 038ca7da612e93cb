//! `wasi:keyvalue` by hand: `/get /set /delete /exists /keys /cursor /get-many /set-many /delete-many
//! /increment?delta= /swap?from=` (compare-and-swap: the body is written if the value is still `from`).

use guests::spin::atomics::{self, Cas, CasError};
use guests::spin::batch;
use guests::spin::keyvalue::{self, Error};
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
    let bucket = keyvalue::open(&label)?;
    let path = request.path();
    Ok(match path.rsplit('/').next().unwrap_or_default() {
        "set" => {
            bucket.set(&key, &request.bytes())?;
            Some(Vec::new())
        }
        "delete" => {
            bucket.delete(&key)?;
            Some(Vec::new())
        }
        "exists" => Some(bucket.exists(&key)?.to_string().into_bytes()),
        "keys" => {
            let mut keys = bucket.list_keys(None)?.keys;
            keys.sort();
            Some(keys.join("\n").into_bytes())
        }
        "cursor" => Some(bucket.list_keys(Some("0"))?.keys.join("\n").into_bytes()),
        "get-many" => {
            let keys: Vec<String> = key.split(',').map(str::to_owned).collect();
            let mut lines: Vec<String> = batch::get_many(&bucket, &keys)?
                .into_iter()
                .map(|(key, value)| match value {
                    Some(value) => format!("{key}={}", String::from_utf8_lossy(&value)),
                    None => format!("{key} is absent"),
                })
                .collect();
            lines.sort();
            Some(lines.join("\n").into_bytes())
        }
        "set-many" => {
            let value = request.bytes();
            let pairs: Vec<(String, Vec<u8>)> =
                key.split(',').map(|key| (key.to_owned(), value.clone())).collect();
            batch::set_many(&bucket, &pairs)?;
            Some(Vec::new())
        }
        "delete-many" => {
            let keys: Vec<String> = key.split(',').map(str::to_owned).collect();
            batch::delete_many(&bucket, &keys)?;
            Some(Vec::new())
        }
        "increment" => {
            let delta = request.query("delta").and_then(|text| text.parse().ok()).unwrap_or(1);
            Some(atomics::increment(&bucket, &key, delta)?.to_string().into_bytes())
        }
        "swap" => {
            let cas = Cas::new(&bucket, &key)?;
            let current = cas.current()?;
            if let Some(from) = request.query("from")
                && current.as_deref() != Some(from.as_bytes())
            {
                return Ok(Some(b"differs".to_vec()));
            }
            if let Some(between) = request.query("between") {
                bucket.set(&key, between.as_bytes())?;
            }
            match atomics::swap(cas, &request.bytes()) {
                Ok(()) => Some(b"swapped".to_vec()),
                Err(CasError::CasFailed(again)) => {
                    let value = again.current()?.unwrap_or_default();
                    Some(format!("lost to {}", String::from_utf8_lossy(&value)).into_bytes())
                }
                Err(CasError::StoreError(error)) => return Err(error),
            }
        }
        _ => bucket.get(&key)?,
    })
}
