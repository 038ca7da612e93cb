//! Allowed hosts as people write them, and against a plain model of the rules.

use proptest::prelude::*;

use super::*;

const NONE: [&str; 0] = [];

fn hosts(entries: &[&str]) -> AllowedHosts {
    AllowedHosts::parse(entries, &NONE).unwrap()
}

fn error(entry: &str) -> String {
    AllowedHosts::parse(&[entry], &NONE).unwrap_err().full()
}

fn allows(entries: &[&str], url: &str) -> bool {
    hosts(entries).allows_url(&OutboundUrl::parse(url, "https").unwrap())
}

#[test]
fn scheme_host_and_port_must_all_match() {
    let entries = ["https://example.com", "http://example.com:8383", "redis://cache"];
    for url in [
        "https://example.com",
        "https://example.com:443/a?b",
        "https://EXAMPLE.com",
        "example.com",
        "http://example.com:8383/foo",
        "redis://user:pass#word@cache:6379/0",
        "redis://cache",
    ] {
        assert!(allows(&entries, url), "{url}");
    }
    for url in [
        "http://example.com",
        "https://example.com:8383",
        "https://sub.example.com",
        "https://example.com.evil.com",
        "https://example.org",
        "mysql://cache",
        "redis://cache:6380",
    ] {
        assert!(!allows(&entries, url), "{url}");
    }
    assert!(!allows(&[], "https://example.com"));
}

#[test]
fn wildcards_stand_for_any_scheme_subdomain_host_and_port() {
    assert!(allows(&["*://*:*"], "foo://bar:1"));
    assert!(allows(&["https://*.example.com"], "https://a.example.com"));
    assert!(allows(&["https://*.example.com"], "https://a.b.example.com"));
    assert!(!allows(&["https://*.example.com"], "https://example.com"));
    assert!(!allows(&["https://*.example.com"], "https://myexample.com"));
    assert!(allows(&["*://example.com:*"], "foo://example.com"));
    assert!(!allows(&["*://example.com:8080"], "foo://example.com"));
    assert!(allows(&["http://*"], "http://[::1]"));
}

#[test]
fn a_port_range_is_without_its_end() {
    for (port, expected) in [(4443, false), (4444, true), (5554, true), (5555, false)] {
        assert_eq!(hosts(&["http://a:4444..5555"]).allows("http", "a", Some(port)), expected);
    }
}

#[test]
fn addresses_are_matched_by_address_and_network() {
    let allowed =
        hosts(&["*://10.1.2.3/8:5432", "tcp://192.168.1.1:7", "*://ff00::/8:80", "*://[::1]:1..9"]);
    let address = |text: &str| text.parse().unwrap();
    assert!(allowed.allows_address("tcp", address("10.200.0.1"), 5432));
    assert!(allowed.allows("postgres", "10.0.0.9", None));
    assert!(allowed.allows_address("tcp", address("192.168.1.1"), 7));
    assert!(!allowed.allows_address("udp", address("192.168.1.1"), 7));
    assert!(allowed.allows("http", "[ff00::5]", None));
    assert!(!allowed.allows("http", "[fe00::5]", None));
    assert!(allowed.allows_address("tcp", address("::1"), 8));
    assert!(!allowed.allows_address("tcp", address("11.0.0.1"), 5432));
    // An IPv4 address in IPv6 clothes is another address.
    assert!(!allowed.allows_address("tcp", address("::ffff:10.0.0.1"), 5432));
    assert!(hosts(&["http://[::1]"]).allows("http", "[::1]", Some(80)));
    assert!(!hosts(&["http://example.com:80"]).allows_address("http", address("1.2.3.4"), 80));
}

#[test]
fn self_is_a_permission_for_relative_requests_and_no_host() {
    for entry in ["http://self", "http://self.alt", "*://*:*", "http://*"] {
        assert!(hosts(&[entry]).allows_relative(&["http", "https"]), "{entry}");
    }
    assert!(!hosts(&["https://self"]).allows_relative(&["http"]));
    assert!(!hosts(&["http://example.com"]).allows_relative(&["http", "https"]));
    assert!(!hosts(&["http://self"]).allows("http", "self", None));
}

#[test]
fn service_chaining_is_for_the_components_there_are() {
    let all = AllowedHosts::parse(&["http://*.spin.internal"], &["a", "b"]).unwrap();
    assert!(all.uses_service_chaining());
    assert!(all.allows("http", "a.spin.internal", None));
    assert!(!all.allows("http", "c.spin.internal", None));
    assert!(hosts(&["http://a.spin.internal"]).uses_service_chaining());
    assert!(!hosts(&["http://a.example.com", "*://*:*"]).uses_service_chaining());
    assert_eq!(service_chaining_target("a.spin.internal"), Some("a"));
    assert_eq!(service_chaining_target("a.spin.internal:80"), Some("a"));
    for other in ["spin.internal", "a.b.spin.internal", "a.spin.internal.com", ".spin.internal"] {
        assert_eq!(service_chaining_target(other), None, "{other}");
    }
}

#[test]
fn mistakes_read_as_spins() {
    for (entry, expected) in [
        ("*", r#""*" is not an allowed outbound host format."#),
        ("example.com", r#""example.com" does not contain a scheme (e.g., 'http://' or '*://')"#),
        (
            "insecure:allow-all",
            "'insecure:allow-all' is not allowed - use '*://*:*' instead if you really want to allow all outbound traffic'",
        ),
        (
            "*://example.com",
            r#"Invalid allowed host port "": no port was provided and the scheme "*" does not have a known default port number"#,
        ),
        ("http://a:b", r#"Invalid allowed host port "b": port "b" is not a number"#),
        (
            "http://a:1..x",
            r#"Invalid allowed host port "1..x": port range "1..x" contains non-number"#,
        ),
        (
            "http://a:{1,2}",
            r#"Invalid allowed host port "{1,2}": port lists are not yet supported"#,
        ),
        (
            "h2c://a:1",
            r#"Invalid allowed host scheme "h2c": only alphabetic characters are allowed"#,
        ),
        ("{a,b}://c:1", r#"Invalid allowed host scheme "{a,b}": scheme lists are not supported"#),
        ("http://a/b", r#"Invalid allowed host "a/b": must not include a path"#),
        ("http://a:1/b", r#""http://a:1/b" has a path but is not allowed to"#),
        (
            "http://*.*.com",
            r#"Invalid allowed host "*.*.com": wildcards are allowed only as prefixes"#,
        ),
        (
            "http://a.*.com",
            r#"Invalid allowed host "a.*.com": wildcards are allowed only as subdomains"#,
        ),
        (
            "http://*.1.2.3.4",
            r#"Invalid allowed host "*.1.2.3.4": wildcard suffix must be a domain"#,
        ),
    ] {
        assert_eq!(error(entry), expected, "{entry}");
    }
}

#[test]
fn templates_are_resolved_and_those_that_come_to_nothing_are_left_out() {
    let templates =
        HostTemplates::parse(&["https://{{ host }}", "{{ optional }}", "http://fixed"]).unwrap();
    assert!(!templates.is_literal());
    assert_eq!(templates.names().collect::<Vec<_>>(), ["host", "optional"]);
    let value = |name: &str| match name {
        "host" => Some("example.com".to_owned()),
        "optional" => Some("https://".to_owned()),
        _ => None,
    };
    let resolved = templates.resolve(value, &NONE).unwrap();
    let texts: Vec<_> = resolved.entries().iter().map(ToString::to_string).collect();
    assert_eq!(texts, ["https://example.com", "http://fixed"]);
    let unknown = templates.resolve(|_| None, &NONE).unwrap_err();
    assert_eq!(unknown.to_string(), r#"invalid variable template: unknown variable "host""#);
}

#[test]
fn templates_are_checked_with_the_defaults_there_are() {
    let entries = ["https://{{ host }}"];
    assert!(validate_templates(&entries, |_| None).is_ok());
    assert!(validate_templates(&entries, |_| Some(String::new())).is_ok());
    let error = validate_templates(&entries, |_| Some("a/b".to_owned())).unwrap_err();
    assert_eq!(
        error.full(),
        r#"using default variable value(s) with template "https://{{ host }}" results in invalid config "https://a/b": Invalid allowed host "a/b": must not include a path"#
    );
    assert!(validate_templates(&[""], |_| None).is_err());
    assert!(validate_templates(&["http://{{ a"], |_| None).is_err());
}

#[test]
fn credentials_do_not_hide_the_host() {
    let host = |text: &str, scheme: &str| OutboundUrl::parse(text, scheme).unwrap().authority();
    assert_eq!(host("https://user:password@example.com/file@0.1.json", "https"), "example.com");
    assert_eq!(host("https://example.com/file@0.1.0.json", "https"), "example.com");
    assert_eq!(host("mysql://user:pass#word@db:99/x", "mysql"), "db:99");
    assert_eq!(host("user:p@ss@db", "mysql"), "db");
    assert_eq!(host("localhost:3001", "http"), "localhost:3001");
    for trick in
        ["https://evil.com?@good.com", "https://evil.com#@good.com", r"http://evil.com\@good.com"]
    {
        assert_eq!(host(trick, "https"), "evil.com", "{trick}");
    }
    assert!(OutboundUrl::parse("", "http").is_err());
}

#[test]
fn the_hosts_of_version_1_become_outbound_hosts() {
    assert_eq!(
        convert_http_hosts(&["example.com", "http://a.com:99/", "self"]).unwrap(),
        [
            "http://example.com",
            "https://example.com",
            "http://a.com:99",
            "https://a.com:99",
            "http://self"
        ]
    );
    assert_eq!(
        convert_http_hosts(&["a.com", "insecure:allow-all"]).unwrap(),
        ["http://*:*", "https://*:*", "http://self"]
    );
    assert_eq!(
        convert_http_hosts(&["ftp://a.com", "b.com/x"]).unwrap_err().to_string(),
        "One or more allowed_http_hosts entries was invalid:\nftp://a.com isn't a valid host or host:port string\nb.com/x contains a path, should be host and optional port only"
    );
}

/// An entry, as the generator made it.
#[derive(Debug, Clone)]
struct Written {
    scheme: &'static str,
    host: &'static str,
    port: String,
}

impl Written {
    fn text(&self) -> String {
        format!("{}://{}{}", self.scheme, self.host, self.port)
    }

    /// The rules again, naively.
    fn allows(&self, scheme: &str, host: &str, port: u16) -> bool {
        let host_matches = match self.host {
            "*" => true,
            "self" => false,
            "10.0.0.0/8" => host.starts_with("10."),
            below if below.starts_with("*.") => host.ends_with(&below[1..]),
            literal => literal == host,
        };
        let port_matches = match self.port.strip_prefix(':').unwrap_or_default() {
            "*" => true,
            "" => well_known_port(self.scheme) == Some(port),
            range if range.contains("..") => {
                let (start, end) = range.split_once("..").unwrap();
                (start.parse().unwrap()..end.parse::<u16>().unwrap()).contains(&port)
            }
            number => number.parse() == Ok(port),
        };
        (self.scheme == "*" || self.scheme == scheme) && host_matches && port_matches
    }
}

fn written() -> impl Strategy<Value = Written> {
    let scheme = prop::sample::select(vec!["*", "http", "https", "redis", "tcp"]);
    let host = prop::sample::select(vec![
        "*",
        "self",
        "a.com",
        "*.a.com",
        "10.0.0.0/8",
        "10.1.1.1",
        "b.a.com",
    ]);
    let port = prop_oneof![
        Just(String::new()),
        Just(":*".to_owned()),
        prop::sample::select(vec![79u16, 80, 81, 443, 6379]).prop_map(|port| format!(":{port}")),
        (70u16..90, 70u16..90).prop_map(|(start, end)| format!(":{start}..{end}")),
    ];
    (scheme, host, port).prop_map(|(scheme, host, port)| Written { scheme, host, port })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn allowed_hosts_agree_with_the_model(
        entries in prop::collection::vec(written(), 0..4),
        scheme in prop::sample::select(vec!["http", "https", "redis", "tcp"]),
        host in prop::sample::select(vec!["a.com", "b.a.com", "c.b.a.com", "ba.com", "10.1.1.1", "10.9.9.9", "11.1.1.1", "self"]),
        port in prop::option::of(prop::sample::select(vec![75u16, 79, 80, 81, 443, 6379])),
    ) {
        // Without a port of its own an entry must have a scheme with one.
        let (fine, wrong): (Vec<_>, Vec<_>) = entries
            .into_iter()
            .partition(|entry| !entry.port.is_empty() || well_known_port(entry.scheme).is_some());
        for entry in wrong {
            prop_assert!(AllowedHosts::parse(&[entry.text()], &NONE).is_err());
        }
        let texts: Vec<_> = fine.iter().map(Written::text).collect();
        let allowed = AllowedHosts::parse(&texts, &NONE).unwrap();
        let effective = port.or_else(|| well_known_port(scheme));
        let expected = fine.iter().any(|entry| match effective {
            Some(port) => entry.allows(scheme, host, port),
            None => entry.port == ":*" && entry.allows(scheme, host, 1),
        });
        prop_assert_eq!(allowed.allows(scheme, host, port), expected, "{:?}", texts);
        if let (Ok(address), Some(port)) = (host.parse(), port) {
            prop_assert_eq!(allowed.allows_address(scheme, address, port), expected);
        }
        let relative = fine.iter().any(|entry| {
            matches!(entry.host, "*" | "self") && (entry.scheme == "*" || entry.scheme == scheme)
        });
        prop_assert_eq!(allowed.allows_relative(&[scheme]), relative);
    }

    #[test]
    fn any_text_is_an_entry_or_an_error_and_an_entry_is_written_as_it_was(
        text in "[a*:/.{}\\[\\]0-9 é]{0,12}|(http|\\*)://[a*.0-9:/]{0,10}",
    ) {
        if let Ok(host) = AllowedHost::parse(&text) {
            prop_assert_eq!(host.to_string(), text.clone());
            prop_assert_eq!(AllowedHost::parse(&host.to_string()).unwrap(), host);
        }
    }
}
