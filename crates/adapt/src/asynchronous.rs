//! Which components need the component model's own concurrency.

use wasmparser::{Parser, Validator, WasmFeatures};

/// What the component model's concurrency consists of.
const ASYNC: WasmFeatures = WasmFeatures::CM_ASYNC
    .union(WasmFeatures::CM_ASYNC_STACKFUL)
    .union(WasmFeatures::CM_MORE_ASYNC_BUILTINS)
    .union(WasmFeatures::CM_ERROR_CONTEXT);

/// Whether a component has asynchronous functions, streams or futures anywhere in it. What is not valid has none.
pub fn is_async(component: &[u8]) -> bool {
    !is_valid(component, WasmFeatures::all().difference(ASYNC))
        && is_valid(component, WasmFeatures::all())
}

/// Whether everything but the bodies of functions is valid.
fn is_valid(component: &[u8], features: WasmFeatures) -> bool {
    let mut validator = Validator::new_with_features(features);
    Parser::new(0)
        .parse_all(component)
        .all(|payload| payload.is_ok_and(|payload| validator.payload(&payload).is_ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_components_with_asynchronous_types_need_concurrency() {
        let is_async = |text: &str| is_async(&wat::parse_str(text).expect("it is valid"));
        assert!(!is_async("(component)"));
        assert!(!is_async(r#"(component (import "f" (func (param "x" u32))))"#));
        assert!(is_async(r#"(component (import "f" (func async (param "x" u32))))"#));
        assert!(is_async(r#"(component (import "f" (func (param "x" (stream u8)))))"#));
        assert!(is_async(
            r#"(component (component (import "f" (func (result (future string))))))"#
        ));
        assert!(!super::is_async(b"\0asm nonsense"));
    }
}
