//! Target of a redirect: its Location, relative to the address that was asked (RFC 9110 section 10.2.2, RFC 3986
//! section 5). The caller decides whether to follow it.

use ureq::http::Uri;

/// Returns the address that `location` names; `None` if it is no reference to an address with a host.
pub(super) fn target(base: &Uri, location: &str) -> Option<Uri> {
    let (scheme, authority) = (base.scheme_str()?, base.authority()?.as_str());
    // A fragment is for the reader of the document, and no part of the request.
    let location = location.split('#').next().unwrap_or_default();
    let (path, query) = location.split_once('?').map_or((location, None), |(path, query)| (path, Some(query)));
    let with = |path: &str, query: Option<&str>| {
        let query = query.map(|query| format!("?{query}")).unwrap_or_default();
        format!("{scheme}://{authority}{}{query}", without_dots(path))
    };
    let absolute = if has_scheme(path) {
        location.to_owned()
    } else if path.starts_with("//") {
        format!("{scheme}:{location}")
    } else if path.starts_with('/') {
        with(path, query)
    } else if path.is_empty() {
        with(base.path(), query.or(base.query()))
    } else {
        let folder = base.path().rfind('/').map_or("/", |end| &base.path()[..=end]);
        with(&format!("{folder}{path}"), query)
    };
    // A Uri can be an authority alone, as in CONNECT.
    let is_whole = |target: &Uri| target.scheme().is_some() && target.host().is_some_and(|host| !host.is_empty());
    absolute.parse().ok().filter(is_whole)
}

/// Returns whether the text begins with a scheme (RFC 3986 section 3.1). A colon after a slash is one of the path.
fn has_scheme(text: &str) -> bool {
    let scheme = text.split_once(':').map(|(scheme, _)| scheme).unwrap_or_default();
    let rest = |letter: char| letter.is_ascii_alphanumeric() || "+-.".contains(letter);
    scheme.starts_with(|letter: char| letter.is_ascii_alphabetic()) && scheme.chars().all(rest)
}

/// Removes the segments `.` and `..` of a path (RFC 3986 section 5.2.4).
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                // The path of a folder still ends in a slash.
                if last {
                    kept.push("");
                }
            }
            segment => kept.push(segment),
        }
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_relative_to_the_address_asked() {
        // Those of RFC 3986 section 5.4 with a host, on https.
        let base: Uri = "https://a/b/c/d;p?q".parse().unwrap();
        for (location, expected) in [
            ("g:h", None),
            ("g", Some("https://a/b/c/g")),
            ("./g", Some("https://a/b/c/g")),
            ("g/", Some("https://a/b/c/g/")),
            ("/g", Some("https://a/g")),
            ("//g", Some("https://g/")),
            ("?y", Some("https://a/b/c/d;p?y")),
            ("g?y", Some("https://a/b/c/g?y")),
            ("#s", Some("https://a/b/c/d;p?q")),
            ("g#s", Some("https://a/b/c/g")),
            ("g?y#s", Some("https://a/b/c/g?y")),
            (";x", Some("https://a/b/c/;x")),
            ("g;x", Some("https://a/b/c/g;x")),
            ("", Some("https://a/b/c/d;p?q")),
            (".", Some("https://a/b/c/")),
            ("./", Some("https://a/b/c/")),
            ("..", Some("https://a/b/")),
            ("../", Some("https://a/b/")),
            ("../g", Some("https://a/b/g")),
            ("../..", Some("https://a/")),
            ("../../g", Some("https://a/g")),
            ("../../../../g", Some("https://a/g")),
            ("/./g", Some("https://a/g")),
            ("/../g", Some("https://a/g")),
            ("g.", Some("https://a/b/c/g.")),
            ("..g", Some("https://a/b/c/..g")),
            ("./../g", Some("https://a/b/g")),
            ("./g/.", Some("https://a/b/c/g/")),
            ("g/./h", Some("https://a/b/c/g/h")),
            ("g/../h", Some("https://a/b/c/h")),
            ("g?y/../x", Some("https://a/b/c/g?y/../x")),
            ("/g:1", Some("https://a/g:1")),
            ("./g:1", Some("https://a/b/c/g:1")),
            ("https://w/x", Some("https://w/x")),
            ("http://a/x", Some("http://a/x")),
            ("HTTPS://A:443/x", Some("https://A:443/x")),
            ("a b", None),
            ("https:///x", None),
        ] {
            let target = target(&base, location).map(|uri| uri.to_string());
            assert_eq!(target.as_deref(), expected, "{location:?}");
        }
    }
}
