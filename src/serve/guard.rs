//! Keeps pages of other sites out.
//!
//! A browser on this machine reaches `127.0.0.1` for whatever page is open in it. Two headers tell: a page
//! of another site sends its own `Origin`, and one whose name was pointed at this machine (DNS
//! rebinding) sends that name as `Host`.

use axum::http::{HeaderMap, HeaderName, Uri, header};
use std::net::IpAddr;

/// Refuses requests that a page of another site makes; `local` is whether the server listens to this
/// machine alone.
///
/// # Errors
/// Why.
pub(super) fn admit(headers: &HeaderMap, local: bool) -> Result<(), &'static str> {
    let host = text(headers, header::HOST);
    if local && !host.is_some_and(names_this_machine) {
        return Err("this server listens to this machine alone; ask it as localhost or by its address");
    }
    if headers.contains_key(header::ORIGIN) {
        let origin = text(headers, header::ORIGIN).and_then(|origin| origin.parse::<Uri>().ok());
        let authority = origin.as_ref().and_then(Uri::authority).map(|authority| authority.as_str());
        if authority.is_none() || authority != host {
            return Err("pages of other sites may not use this server");
        }
    }
    Ok(())
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Whether a `Host` (`localhost:8080`, `127.0.0.1`, `[::1]:8080`) is this machine.
fn names_this_machine(host: &str) -> bool {
    let Ok(uri) = host.parse::<Uri>() else { return false };
    let name = uri.host().unwrap_or_default();
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn admitted(local: bool, host: &str, origin: Option<&str>) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().unwrap());
        }
        admit(&headers, local).is_ok()
    }

    #[test]
    fn only_this_machine_s_names_reach_a_local_server() {
        for host in ["localhost", "LOCALHOST:8080", "127.0.0.1:8080", "127.1.2.3", "[::1]:8080", "[::1]"] {
            assert!(admitted(true, host, None), "{host}");
        }
        for host in
            ["evil.example", "localhost.evil.example:8080", "192.168.0.2", "127.0.0.1.evil.example", ""]
        {
            assert!(!admitted(true, host, None), "{host}");
        }
        assert!(admitted(false, "edge.example:8080", None));
        assert!(admit(&HeaderMap::new(), true).is_err());
    }

    #[test]
    fn pages_of_other_sites_are_refused() {
        assert!(admitted(true, "localhost:8080", Some("http://localhost:8080")));
        assert!(admitted(false, "edge.example", Some("https://edge.example")));
        for origin in
            ["http://localhost:8081", "http://evil.example", "null", "http://", "localhost:8080.evil"]
        {
            assert!(!admitted(true, "localhost:8080", Some(origin)), "{origin}");
        }
    }
}
