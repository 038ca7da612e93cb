//! A core module for `wasm32-wasip1` with `_start`: no component, so it has no HTTP handler.

fn main() {
    println!("content-type: text/plain\n\nHello from a module");
}
