//! A person with a browser, as far as pages without JavaScript need one: links are opened, forms are filled
//! in and sent as the page has them, cookies are kept, redirects on the same site followed.

use std::collections::BTreeMap;
use std::fmt::Write;

use http::Method;

use crate::client::{Answer, Site, UrlParts};

/// A browser with its cookies.
#[derive(Debug)]
pub struct Browser {
    site: Site,
    origin: String,
    cookies: BTreeMap<String, String>,
}

/// A page that was shown.
#[derive(Clone, Debug)]
pub struct Page {
    /// Its path and query.
    pub path: String,
    /// The answer it came with.
    pub answer: Answer,
}

/// A form of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Form {
    /// Where it goes; empty for the page itself.
    pub action: String,
    /// `get` or `post`.
    pub method: String,
    /// Its fields in order, hidden ones included.
    pub fields: Vec<Field>,
}

/// A field or button of a form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// What it is called.
    pub name: String,
    /// `text`, `hidden`, `password`, `submit`, …
    pub kind: String,
    /// What it holds.
    pub value: String,
}

impl Form {
    /// The field with that name.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// Types `value` into a field that the page has.
    #[track_caller]
    #[must_use]
    pub fn fill(mut self, name: &str, value: &str) -> Self {
        let field = self.fields.iter_mut().find(|field| field.name == name);
        value.clone_into(&mut field.unwrap_or_else(|| panic!("no field {name}")).value);
        self
    }

    /// Leaves every button but this one unpressed.
    #[must_use]
    pub fn press(mut self, name: &str, value: &str) -> Self {
        self.fields
            .retain(|field| field.kind != "submit" || (field.name == name && field.value == value));
        self
    }

    fn encoded(&self) -> String {
        let pairs = self.fields.iter().filter(|field| !field.name.is_empty());
        let pairs = pairs.map(|field| format!("{}={}", encode(&field.name), encode(&field.value)));
        pairs.collect::<Vec<_>>().join("&")
    }
}

impl Page {
    /// Its forms.
    pub fn forms(&self) -> Vec<Form> {
        forms(&self.answer.text())
    }

    /// The form that has a field called `name`.
    pub fn form_with(&self, name: &str) -> Option<Form> {
        self.forms().into_iter().find(|form| form.field(name).is_some())
    }

    /// Its source.
    pub fn text(&self) -> String {
        self.answer.text()
    }
}

impl Browser {
    /// One that was never on this site.
    #[track_caller]
    pub fn new(url: &str) -> Self {
        let site = Site::at(url);
        let parts = UrlParts::of(url);
        let origin = format!("{}://{}", parts.scheme, site.host);
        Self { site, origin, cookies: BTreeMap::new() }
    }

    /// Opens a URL of this site, or a path.
    #[track_caller]
    pub fn open(&mut self, url: &str) -> Page {
        self.follow(Method::GET, &self.path_of(url), String::new())
    }

    /// Sends a form of `page`.
    #[track_caller]
    pub fn submit(&mut self, page: &Page, form: &Form) -> Page {
        let own = page.path.split('?').next().unwrap_or_default();
        let action =
            if form.action.is_empty() { own.to_owned() } else { self.path_of(&form.action) };
        if form.method.eq_ignore_ascii_case("post") {
            self.follow(Method::POST, &action, form.encoded())
        } else {
            self.follow(Method::GET, &format!("{action}?{}", form.encoded()), String::new())
        }
    }

    /// Lets a device in at the page that it names, as a person does: signs in by the token, types the code, approves; until the
    /// device says that it is done, or nothing is left to be done. The last page then.
    #[track_caller]
    pub fn approve(
        &mut self,
        url: &str,
        code: &str,
        token: &str,
        mut is_done: impl FnMut() -> bool,
    ) -> Page {
        let mut shown = self.open(url);
        for _ in 0..4 {
            if is_done() {
                break;
            }
            let Some(next) = self.next_step(&shown, code, token) else { break };
            shown = next;
        }
        shown
    }

    #[track_caller]
    fn next_step(&mut self, shown: &Page, code: &str, token: &str) -> Option<Page> {
        assert!(shown.answer.status < 400, "{} {}", shown.answer.status, shown.text());
        let form = shown.forms().into_iter().find(|form| form.method.eq_ignore_ascii_case("post"));
        let mut form = form.or_else(|| shown.forms().into_iter().next())?;
        for field in form.fields.clone() {
            let is_token = field.kind == "password" || field.name == "token";
            if is_token {
                form = form.fill(&field.name, token);
            } else if field.kind == "text" && field.value.is_empty() {
                form = form.fill(&field.name, code);
            }
        }
        let approve =
            form.fields.iter().find(|field| field.kind == "submit" && field.value == "approve");
        if let Some(button) = approve.cloned() {
            form = form.press(&button.name, &button.value);
        }
        Some(self.submit(shown, &form))
    }

    #[track_caller]
    fn follow(&mut self, method: Method, path: &str, body: String) -> Page {
        let (mut method, mut path, mut body) = (method, path.to_owned(), body);
        for _ in 0..8 {
            let cookies: Vec<String> =
                self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let cookies = cookies.join("; ");
            let mut headers = vec![("accept", "text/html"), ("sec-fetch-site", "same-origin")];
            if method == Method::POST {
                headers.push(("content-type", "application/x-www-form-urlencoded"));
                headers.push(("origin", &self.origin));
            }
            if !cookies.is_empty() {
                headers.push(("cookie", &cookies));
            }
            let answer = self
                .site
                .send(method.clone(), &path, &headers, body.clone())
                .unwrap_or_else(|error| panic!("{method} {path}: {error}"));
            self.keep_cookies(&answer);
            if !(300..400).contains(&answer.status) {
                return Page { path, answer };
            }
            path = self.path_of(&answer.header("location"));
            (method, body) = (Method::GET, String::new());
        }
        panic!("redirected in circles, last to {path}");
    }

    fn keep_cookies(&mut self, answer: &Answer) {
        for cookie in answer.headers.get_all("set-cookie") {
            let text = cookie.to_str().unwrap_or_default();
            let pair = text.split(';').next().unwrap_or_default();
            if let Some((name, value)) = pair.split_once('=') {
                let ends_now = text.to_ascii_lowercase().contains("max-age=0");
                if ends_now || value.is_empty() {
                    self.cookies.remove(name.trim());
                } else {
                    self.cookies.insert(name.trim().to_owned(), value.to_owned());
                }
            }
        }
    }

    #[track_caller]
    fn path_of(&self, url: &str) -> String {
        if url.starts_with('/') {
            return url.to_owned();
        }
        let Some((_, rest)) = url.split_once("://") else { panic!("not a URL of a page: {url:?}") };
        let (authority, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
        assert_eq!(authority, self.site.host, "the page leads away: {url}");
        path.to_owned()
    }
}

fn encode(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02X}").expect("a String takes everything");
        }
    }
    encoded
}

/// The forms of a page's source.
fn forms(source: &str) -> Vec<Form> {
    let mut forms: Vec<Form> = Vec::new();
    let mut is_inside = false;
    let mut rest = source;
    while let Some(start) = rest.find('<') {
        rest = &rest[start + 1..];
        let Some(end) = rest.find('>') else { break };
        let (tag, after) = (&rest[..end], &rest[end + 1..]);
        let name: String =
            tag.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '/').collect();
        let attributes = attributes(&tag[name.len()..]);
        let attribute = |key: &str| attributes.get(key).cloned().unwrap_or_default();
        match name.to_ascii_lowercase().as_str() {
            "form" => {
                is_inside = true;
                let (action, method) = (attribute("action"), attribute("method"));
                forms.push(Form { action, method, fields: Vec::new() });
            }
            "/form" => is_inside = false,
            "input" | "button" if is_inside => {
                let is_button = name.eq_ignore_ascii_case("button");
                let default = if is_button { "submit" } else { "text" };
                let kind = attributes.get("type").map_or(default, String::as_str).to_owned();
                let field = Field { name: attribute("name"), kind, value: attribute("value") };
                forms.last_mut().expect("it is inside of one").fields.push(field);
            }
            _ => {}
        }
        rest = after;
    }
    forms
}

/// `a="1" b=2 c` as pairs.
fn attributes(text: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut rest = text.trim().trim_end_matches('/');
    while !rest.is_empty() {
        let end = rest.find(|c: char| c == '=' || c.is_whitespace()).unwrap_or(rest.len());
        let name = rest[..end].to_ascii_lowercase();
        rest = &rest[end..];
        let mut value = "";
        if let Some(after) = rest.strip_prefix('=') {
            (value, rest) = match after.chars().next() {
                Some(quote @ ('"' | '\'')) => {
                    after[1..].split_once(quote).unwrap_or((&after[1..], ""))
                }
                _ => after.split_at(after.find(char::is_whitespace).unwrap_or(after.len())),
            };
        }
        if !name.is_empty() {
            found.insert(name, unescape(value));
        }
        rest = rest.trim_start();
    }
    found
}

fn unescape(text: &str) -> String {
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&#34;", "\"")
        .replace("&#39;", "'")
        .replace("&#x27;", "'")
        .replace("&#x2F;", "/")
        .replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_read_as_a_browser_would() {
        let source = r#"<p>Hello</p><form method="post" action='/go?a=1&amp;b=2'>
            <input type="hidden" name="csrf" value="x&quot;y"><input name=code autofocus />
            <button name="decision" value="approve">Approve</button>
            <button name="decision" value="deny">Deny</button></form><input name="outside">"#;
        let forms = forms(source);
        assert_eq!(forms.len(), 1);
        let form = forms[0].clone();
        assert_eq!((form.action.as_str(), form.method.as_str()), ("/go?a=1&b=2", "post"));
        assert_eq!(form.field("csrf").unwrap().value, "x\"y");
        assert_eq!(form.field("code").unwrap().kind, "text");
        assert!(form.field("outside").is_none());
        let sent = form.fill("code", "AB CD").press("decision", "approve").encoded();
        assert_eq!(sent, "csrf=x%22y&code=AB%20CD&decision=approve");
    }
}
