//! Components of WASI 0.3's release candidate.
//!
//! The candidate of 2026-03-15 has the shape of 0.3.0: only its name differs, and a pre-release is compatible with
//! nothing but itself. With the `-` before `rc` a `+` it is 0.3.0 with build metadata, which the engine takes for
//! what it is: the same track, served by the one implementation of 0.3. A component may import both.

/// How the candidate is called in imports and exports.
const CANDIDATE: &[u8] = b"@0.3.0-rc-2026-03-15";

/// Where in it the pre-release begins.
const MARK: usize = b"@0.3.0".len();

/// Makes the release candidate's interfaces those of 0.3.0, in place.
///
/// Names are compared as bytes within a component, so all of them change, wherever they are; lengths stay.
pub(crate) fn accept(component: &mut [u8]) {
    let mut from = 0;
    while let Some(found) = find(&component[from..]) {
        component[from + found + MARK] = b'+';
        from += found + CANDIDATE.len();
    }
}

fn find(bytes: &[u8]) -> Option<usize> {
    let mut from = 0;
    // An `@` is rare in code; the rest is compared only behind one.
    while let Some(at) = bytes[from..].iter().position(|byte| *byte == CANDIDATE[0]) {
        if bytes[from + at..].starts_with(CANDIDATE) {
            return Some(from + at);
        }
        from += at + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use wasmparser::{Validator, WasmFeatures};

    #[test]
    fn a_component_may_import_the_candidate_and_what_came_of_it() {
        let wat = r#"(component
            (import "wasi:clocks/types@0.3.0" (instance))
            (import "wasi:clocks/types@0.3.0-rc-2026-03-15" (instance))
            (component (import "wasi:http/types@0.3.0-rc-2026-03-15" (instance)))
            (core module $m (data "keep @0.3.0-rc-2026-03-1 as it is"))
            (instance $i)
            (export "wasi:http/handler@0.3.0-rc-2026-03-15" (instance $i)))"#;
        let given = wat::parse_str(wat).unwrap();
        let adapted = crate::adapt(given.clone()).unwrap();
        Validator::new_with_features(WasmFeatures::all()).validate_all(&adapted).unwrap();
        let expected = wat.replace("@0.3.0-rc-2026-03-15", "@0.3.0+rc-2026-03-15");
        assert_eq!(adapted, wat::parse_str(expected).unwrap());
        assert_eq!(adapted.len(), given.len());
    }

    #[test]
    fn other_candidates_and_what_is_cut_off_stay() {
        for text in ["@0.3.0-rc-2026-03-1", "@0.3.0-rc-2026-02-09", "@@", ""] {
            let mut bytes = text.as_bytes().to_vec();
            super::accept(&mut bytes);
            assert_eq!(bytes, text.as_bytes());
        }
        let mut bytes = b"@@0.3.0-rc-2026-03-15@0.3.0-rc-2026-03-15".to_vec();
        super::accept(&mut bytes);
        assert_eq!(bytes, b"@@0.3.0+rc-2026-03-15@0.3.0+rc-2026-03-15");
    }
}
