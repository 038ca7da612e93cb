//! Routes as people use them, and the router against a plain model of the rules.

use proptest::prelude::*;

use super::*;

fn router<'a>(routes: &[&'a str]) -> Router<&'a str> {
    Router::build(routes.iter().map(|route| (*route, *route))).unwrap().0
}

fn found<'a>(router: &Router<&'a str>, path: &str) -> Option<&'a str> {
    router.find(path).map(|found| *found.value)
}

#[test]
fn precedence_does_not_depend_on_the_order_of_the_manifest() {
    let mut routes = [
        "/...",
        "/",
        "/users/:id",
        "/users/me",
        "/users/...",
        "/users/:id/cart/...",
        "/files/:name",
        "/files/:name.json",
        "/:anything",
    ];
    for _ in 0..2 {
        let router = router(&routes);
        for (path, expected) in [
            ("/", "/"),
            ("", "/"),
            ("/users/me", "/users/me"),
            ("/users/me/", "/users/me"),
            ("/users/42", "/users/:id"),
            ("/users/42/", "/users/:id"),
            ("/users/42/x", "/users/..."),
            ("/users/42/cart", "/users/:id/cart/..."),
            ("/users/42/cart/items/3", "/users/:id/cart/..."),
            ("/users/42/cartx", "/users/..."),
            ("/users", "/users/..."),
            ("/files/a.json", "/files/:name.json"),
            ("/files/a.txt", "/files/:name"),
            ("/x", "/:anything"),
            ("/x/y", "/..."),
        ] {
            assert_eq!(found(&router, path), Some(expected), "{path}");
        }
        routes.reverse();
    }
}

#[test]
fn a_path_that_no_route_matches_is_not_found() {
    let router = router(&["/a", "/b/:c", "/d/..."]);
    for path in ["/", "/A", "/a/b", "/ab", "/b", "/b/c/d", "/dd", "/%61"] {
        assert_eq!(found(&router, path), None, "{path}");
    }
}

#[test]
fn a_wildcard_keeps_the_slashes_of_the_path() {
    let everything = router(&["/..."]);
    let below = router(&["/test/..."]);
    let starred = router(&["test/*"]);
    let info = |router: &Router<_>, path: &str| router.find(path).unwrap().path_info.into_owned();
    assert_eq!(info(&everything, "/1/2/3"), "/1/2/3");
    assert_eq!(info(&everything, "/"), "/");
    for router in [below, starred] {
        for (path, expected) in [
            ("/test", ""),
            ("/test/", "/"),
            ("/test/hello", "/hello"),
            ("/test/hello/", "/hello/"),
            ("/test/a%20b/c", "/a%20b/c"),
            ("/test//x", "//x"),
        ] {
            assert_eq!(info(&router, path), expected, "{path}");
            assert!(router.find(path).unwrap().route.is_wildcard());
        }
    }
}

#[test]
fn parameters_stand_for_one_segment_as_it_came() {
    let router = router(&["/users/:user_id/cart/...", "/:a.:b/x"]);
    let found = router.find("/users/4%2F2/cart/items/").unwrap();
    assert_eq!(found.named, [("user_id", "4%2F2")]);
    assert_eq!(found.path_info, "/items/");
    assert_eq!(found.route.based(), "/users/:user_id/cart/...");
    assert_eq!(found.route.based_prefix(), "/users/:user_id/cart");
    assert_eq!(router.find("/é.f.g/x").unwrap().named, [("a", "é"), ("b", "f.g")]);
}

#[test]
fn a_route_knows_what_guests_and_people_are_told() {
    let root = Route::parse("/").unwrap();
    assert_eq!((root.raw(), root.based(), root.path()), ("/", "", ""));
    let everything = Route::parse("/...").unwrap();
    assert_eq!((everything.based(), everything.based_prefix()), ("/...", ""));
    assert!(everything.is_wildcard() && everything.path().is_empty());
    let relative = Route::parse("api/*").unwrap();
    assert_eq!((relative.raw(), relative.based(), relative.path()), ("api/*", "/api/*", "/api"));
    assert!(Route::parse("/.well-known/spin/x").unwrap().is_reserved());
    assert!(!Route::parse("/.well-known/spindle").unwrap().is_reserved());
    let chained = RouteMatch::synthetic(&(), "/x/y");
    assert_eq!((chained.path_info.as_ref(), chained.route.raw()), ("/x/y", "/..."));
}

#[test]
fn of_the_same_route_twice_the_last_wins_and_the_first_is_reported() {
    let (router, duplicates) =
        Router::build([("/", 0), ("/foo", 1), ("/foo", 2), ("/", 3), ("foo", 4)]).unwrap();
    assert_eq!(
        duplicates,
        [
            Duplicate { route: "/foo".into(), replaced: 1, effective: 2 },
            Duplicate { route: "/".into(), replaced: 0, effective: 3 },
        ]
    );
    assert_eq!(router.find("/foo").map(|found| *found.value), Some(2));
    assert_eq!(router.find("/").map(|found| *found.value), Some(3));
    let listed: Vec<_> = router.routes().map(|(_, value)| *value).collect();
    assert_eq!(listed, [3, 2, 4]);
}

#[test]
fn routes_are_listed_as_spin_lists_them() {
    let router = router(&["/...", "/whee/...", "/:x", "/foo", "/", "/bar", "/foo/bar"]);
    let listed: Vec<_> = router.routes().map(|(_, value)| *value).collect();
    assert_eq!(listed, ["/", "/foo", "/bar", "/foo/bar", "/whee/...", "/:x", "/..."]);
}

#[test]
fn what_is_no_route_is_refused_with_its_place() {
    for (raw, reason) in [
        ("/a/:/b", "params must be named"),
        (
            "/a/*rest",
            "since there can only be one wildcard, it doesn't need a name. replace `*rest` with `*`",
        ),
        ("a/*/b", "the wildcard `*` must be the end of the route"),
    ] {
        let error = Router::build([("/fine", ()), (raw, ())]).unwrap_err();
        assert_eq!(error.index, 1);
        assert_eq!(error.reason.to_string(), reason);
    }
    assert_eq!(
        Router::build([("a/:", ())]).unwrap_err().to_string(),
        "Error parsing route /a/:: params must be named"
    );
}

/// The rules again, without tokens, steps and indexes: segments, and a comparison for each pair of matches.
mod model {
    #[derive(Debug, Clone, PartialEq)]
    pub(super) enum Segment {
        Literal(String),
        Parameter,
    }

    pub(super) struct Model {
        segments: Vec<Segment>,
        wildcard: bool,
    }

    impl Model {
        pub(super) fn new(route: &str) -> Self {
            let mut segments: Vec<_> = route.split('/').filter(|text| !text.is_empty()).collect();
            let wildcard = matches!(segments.last(), Some(&("..." | "*")));
            if wildcard {
                segments.pop();
            }
            let segments = segments.into_iter().map(|text| match text.strip_prefix(':') {
                Some(_) => Segment::Parameter,
                None => Segment::Literal(text.to_owned()),
            });
            Self { segments: segments.collect(), wildcard }
        }

        pub(super) fn matches(&self, path: &str) -> bool {
            let trimmed = path.trim_matches('/');
            let path: Vec<_> =
                if trimmed.is_empty() { vec![] } else { trimmed.split('/').collect() };
            let enough = if self.wildcard {
                path.len() >= self.segments.len()
            } else {
                path.len() == self.segments.len()
            };
            enough
                && self.segments.iter().zip(path).all(|(segment, text)| match segment {
                    Segment::Literal(literal) => literal == text,
                    Segment::Parameter => true,
                })
        }

        /// Whether it beats the other, given that both match the same path.
        pub(super) fn beats(&self, other: &Self) -> bool {
            for (mine, theirs) in self.segments.iter().zip(&other.segments) {
                match (mine, theirs) {
                    (Segment::Literal(_), Segment::Parameter) => return true,
                    (Segment::Parameter, Segment::Literal(_)) => return false,
                    _ => {}
                }
            }
            (self.segments.len(), !self.wildcard) > (other.segments.len(), !other.wildcard)
        }
    }
}

fn route() -> impl Strategy<Value = String> {
    let segment = prop_oneof![3 => "[ab]", 1 => "a\\.b", 1 => ":[xy]"];
    let end = prop_oneof![3 => Just(""), 1 => Just("/"), 2 => Just("/..."), 1 => Just("/*")];
    (any::<bool>(), prop::collection::vec(segment, 0..4), end).prop_map(|(slash, segments, end)| {
        let slash = if slash || segments.is_empty() { "/" } else { "" };
        let end = if segments.is_empty() { end.trim_start_matches('/') } else { end };
        format!("{slash}{}{end}", segments.join("/"))
    })
}

fn path() -> impl Strategy<Value = String> {
    let segment = prop_oneof![4 => "[ab]", 1 => "a\\.b", 1 => "c"];
    (prop::collection::vec(segment, 0..5), any::<bool>()).prop_map(|(segments, slash)| {
        format!("/{}{}", segments.join("/"), if slash { "/" } else { "" })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_router_agrees_with_the_model(
        routes in prop::collection::vec(route(), 0..12),
        paths in prop::collection::vec(path(), 1..8),
    ) {
        let (router, _) =
            Router::build(routes.iter().enumerate().map(|(index, raw)| (raw.as_str(), index))).unwrap();
        // The last of equal texts counts, in the place of the first.
        let mut kept: Vec<(&str, usize)> = Vec::new();
        for (index, raw) in routes.iter().enumerate() {
            match kept.iter_mut().find(|(text, _)| text == raw) {
                Some(entry) => entry.1 = index,
                None => kept.push((raw, index)),
            }
        }
        for path in &paths {
            let mut best: Option<(model::Model, usize)> = None;
            for (raw, index) in &kept {
                let candidate = model::Model::new(raw);
                if candidate.matches(path)
                    && best.as_ref().is_none_or(|(model, _)| candidate.beats(model))
                {
                    best = Some((candidate, *index));
                }
            }
            let found = router.find(path);
            prop_assert_eq!(
                found.as_ref().map(|found| *found.value),
                best.map(|(_, index)| index),
                "{:?} in {:?}", path, routes
            );
        }
    }

    #[test]
    fn what_a_match_says_puts_the_path_together_again(
        routes in prop::collection::vec(route(), 1..6),
        path in path(),
    ) {
        let (router, _) = Router::build(routes.iter().map(|raw| (raw.as_str(), ()))).unwrap();
        if let Some(found) = router.find(&path) {
            let mut rebuilt = found.route.path().to_owned();
            for (name, value) in &found.named {
                rebuilt = rebuilt.replacen(&format!(":{name}"), value, 1);
            }
            rebuilt.push_str(&found.path_info);
            let both = [rebuilt.trim_end_matches('/'), path.trim_end_matches('/')];
            prop_assert_eq!(both[0], both[1]);
            prop_assert_eq!(found.path_info.ends_with('/'), found.route.is_wildcard() && path.ends_with('/'));
        }
    }

    #[test]
    fn any_text_is_a_route_or_an_error_and_any_path_is_looked_up(
        raw in "[a/:.*é]{0,12}",
        path in "[a/:.*é]{0,12}",
    ) {
        if let Ok((router, _)) = Router::build([(raw.as_str(), ())])
            && let Some(found) = router.find(&path)
        {
            prop_assert!(found.path_info.is_empty() || found.path_info.starts_with('/'));
        }
    }
}
