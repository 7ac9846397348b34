//! Who may ask, and who may change things.
//!
//! **Pages of other sites are kept out.** A browser on this machine reaches `127.0.0.1` for whatever page is open in it.
//! Two headers tell: a page of another site sends its own `Origin`, and one whose name was pointed at this machine (DNS
//! rebinding) sends that name as `Host`.
//!
//! **A token** (`--token-file`) is asked of every request to `/api/…` and `/metrics` as `Authorization: Bearer …`. Without
//! one only clients on this machine may change things and see pictures that are kept; one that came through a proxy counts as from elsewhere.

use super::refusal::Refusal;
use crate::{Error, Result};
use axum::http::{HeaderMap, HeaderName, StatusCode, Uri, header};
use sha2::{Digest as _, Sha256};
use std::net::IpAddr;
use std::path::Path;
use subtle::ConstantTimeEq as _;

/// The shortest token that is taken, bytes: 16 random ones in hexadecimal are 32.
const MIN_TOKEN_BYTES: usize = 16;
/// The largest file that a token is read from, bytes.
const MAX_TOKEN_BYTES: u64 = 4096;
/// Headers by which proxies tell whom they ask for.
const FORWARDED: [&str; 3] = ["forwarded", "x-forwarded-for", "x-real-ip"];

/// A secret that clients show; only its hash is kept.
#[derive(Clone)]
pub struct Token([u8; 32]);

impl Token {
    /// The first line of a file.
    ///
    /// # Errors
    /// Where it cannot be read, or holds no token of at least 16 visible ASCII characters.
    pub fn read(path: &Path) -> Result<Self> {
        let refused = |why: String| Error::invalid(path.display(), why);
        let size = std::fs::metadata(path).map_err(Error::io("read", path))?.len();
        if size > MAX_TOKEN_BYTES {
            return Err(refused(format!(
                "is larger than {MAX_TOKEN_BYTES} bytes; it should hold one line, the token"
            )));
        }
        let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
        let token = text.lines().next().unwrap_or_default().trim();
        if token.len() < MIN_TOKEN_BYTES || !token.bytes().all(|b| b.is_ascii_graphic()) {
            let make = "`openssl rand -hex 16` makes one";
            return Err(refused(format!(
                "holds no token: its first line should have at least {MIN_TOKEN_BYTES} visible ASCII characters; {make}"
            )));
        }
        Ok(Self::of(token))
    }

    fn of(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }

    /// Whether a client shows it; how long that takes tells nothing about the token.
    fn is_shown(&self, headers: &HeaderMap) -> bool {
        let shown = text(headers, header::AUTHORIZATION).and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
        });
        shown.is_some_and(|token| Self::of(token).0.ct_eq(&self.0).into())
    }
}

/// Who may do what.
#[derive(Clone, Default)]
pub struct Access {
    /// What clients must show.
    pub token: Option<Token>,
    /// Names by which clients may call this server; none given means its own, or any where it listens to others.
    pub hosts: Vec<String>,
    /// Whether the server listens to this machine alone.
    pub local: bool,
}

impl Access {
    /// That a request may come in.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn admit(&self, path: &str, headers: &HeaderMap) -> std::result::Result<(), Refusal> {
        let forbidden = |why: &str| Err(Refusal(StatusCode::FORBIDDEN, why.into()));
        let host = text(headers, header::HOST);
        if !self.is_called(host) {
            return forbidden(
                "this server is not called so; ask it as localhost or by its address, or start it with --allow-host NAME",
            );
        }
        if headers.contains_key(header::ORIGIN) {
            let origin = text(headers, header::ORIGIN).and_then(|origin| origin.parse::<Uri>().ok());
            let authority = origin.as_ref().and_then(Uri::authority).map(|authority| authority.as_str());
            if authority.is_none() || authority != host {
                return forbidden("pages of other sites may not use this server");
            }
        }
        let guarded = path.starts_with("/api/") || path == "/metrics";
        match &self.token {
            Some(token) if guarded && !token.is_shown(headers) => {
                let why = "this server asks for a token: send the header `Authorization: Bearer TOKEN`";
                Err(Refusal(StatusCode::UNAUTHORIZED, why.into()))
            }
            _ => Ok(()),
        }
    }

    /// That a client may change things.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn may_change(&self, peer: IpAddr, headers: &HeaderMap) -> std::result::Result<(), Refusal> {
        let why = "only clients on this machine may change this gallery; start the server with --token-file to let others";
        self.is_trusted(peer, headers).then_some(()).ok_or_else(|| Refusal(StatusCode::FORBIDDEN, why.into()))
    }

    /// That a client may see pictures that were enrolled.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn may_see(&self, peer: IpAddr, headers: &HeaderMap) -> std::result::Result<(), Refusal> {
        let why = "only clients on this machine are shown pictures; start the server with --token-file to show them to others";
        self.is_trusted(peer, headers).then_some(()).ok_or_else(|| Refusal(StatusCode::FORBIDDEN, why.into()))
    }

    /// Whether a client that was admitted has shown a token, or is on this machine.
    fn is_trusted(&self, peer: IpAddr, headers: &HeaderMap) -> bool {
        let proxied = FORWARDED.iter().any(|name| headers.contains_key(*name));
        self.token.is_some() || (is_this_machine(peer) && !proxied)
    }

    fn is_called(&self, host: Option<&str>) -> bool {
        let Some(name) = host.and_then(name_of) else { return !self.local && self.hosts.is_empty() };
        let allowed = self.hosts.iter().any(|allowed| allowed.eq_ignore_ascii_case(&name));
        allowed || names_this_machine(&name) || (!self.local && self.hosts.is_empty())
    }
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// The name or address in a `Host`, without its port.
fn name_of(host: &str) -> Option<String> {
    let uri = host.parse::<Uri>().ok()?;
    Some(uri.host()?.trim_start_matches('[').trim_end_matches(']').to_string())
}

/// Whether a name (`localhost`, `127.0.0.1`, `::1`) is this machine's.
fn names_this_machine(name: &str) -> bool {
    name.eq_ignore_ascii_case("localhost") || name.parse().is_ok_and(is_this_machine)
}

/// IPv6 shows clients of IPv4 as `::ffff:127.0.0.1`.
fn is_this_machine(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|&(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    fn admitted(access: &Access, host: &str, origin: Option<&str>) -> bool {
        let mut all = headers(&[("host", host)]);
        origin.map(|origin| all.insert(header::ORIGIN, origin.parse().unwrap()));
        access.admit("/api/gallery", &all).is_ok()
    }

    fn local() -> Access {
        Access { local: true, ..Access::default() }
    }

    #[test]
    fn only_this_machine_s_names_reach_a_local_server() {
        for host in ["localhost", "LOCALHOST:8080", "127.0.0.1:8080", "127.1.2.3", "[::1]:8080", "[::1]"] {
            assert!(admitted(&local(), host, None), "{host}");
        }
        for host in
            ["evil.example", "localhost.evil.example:8080", "192.168.0.2", "127.0.0.1.evil.example", ""]
        {
            assert!(!admitted(&local(), host, None), "{host}");
        }
        assert!(admitted(&Access::default(), "edge.example:8080", None));
        assert!(local().admit("/", &HeaderMap::new()).is_err());
    }

    #[test]
    fn names_that_were_allowed_are_added_where_the_server_is_local_and_the_only_ones_where_it_is_not() {
        let hosts = vec!["known.example".to_string()];
        for access in [Access { hosts: hosts.clone(), ..local() }, Access { hosts, ..Access::default() }] {
            for host in ["known.example", "KNOWN.example:443", "localhost:8080"] {
                assert!(admitted(&access, host, None), "{host}");
            }
            for host in ["other.example", "known.example.evil", "10.0.0.1"] {
                assert!(!admitted(&access, host, None), "{host}");
            }
        }
    }

    #[test]
    fn pages_of_other_sites_are_refused() {
        assert!(admitted(&local(), "localhost:8080", Some("http://localhost:8080")));
        assert!(admitted(&Access::default(), "edge.example", Some("https://edge.example")));
        for origin in
            ["http://localhost:8081", "http://evil.example", "null", "http://", "localhost:8080.evil"]
        {
            assert!(!admitted(&local(), "localhost:8080", Some(origin)), "{origin}");
        }
    }

    #[test]
    fn a_token_is_asked_for_where_there_is_something_to_know() {
        let token = Some(Token::of("0123456789abcdef"));
        let access = Access { token, ..local() };
        let status = |path: &str, shown: &str| {
            let all = headers(&[("host", "localhost"), ("authorization", shown)]);
            access.admit(path, &all).err().map(|refusal| refusal.0.as_u16())
        };
        for path in ["/api/gallery", "/api/classify", "/metrics"] {
            assert_eq!(status(path, "Bearer 0123456789abcdef"), None);
            assert_eq!(status(path, "bearer  0123456789abcdef"), None);
            for wrong in ["Bearer 0123456789abcdeF", "Bearer ", "Basic 0123456789abcdef", "0123456789abcdef"]
            {
                assert_eq!(status(path, wrong), Some(401), "{wrong}");
            }
        }
        assert_eq!((status("/", "x"), status("/healthz", "x"), status("/page.js", "x")), (None, None, None));
    }

    #[test]
    fn without_a_token_only_this_machine_changes_things() {
        let may = |access: &Access, peer: &str, pairs: &[(&'static str, &str)]| {
            access.may_change(peer.parse().unwrap(), &headers(pairs)).is_ok()
        };
        assert!(
            may(&local(), "127.0.0.1", &[])
                && may(&local(), "::1", &[])
                && may(&local(), "::ffff:127.0.0.1", &[])
        );
        assert!(!may(&Access::default(), "10.0.0.1", &[]));
        assert!(!may(&local(), "127.0.0.1", &[("x-forwarded-for", "10.0.0.1")]));
        let with_token = Access { token: Some(Token::of("0123456789abcdef")), ..Access::default() };
        assert!(may(&with_token, "10.0.0.1", &[]));
    }

    #[test]
    fn a_file_without_a_token_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        for (text, good) in [
            ("0123456789abcdef\n", true),
            ("0123456789abcdef  \r\nmore", true),
            ("short\n", false),
            ("", false),
            ("has spaces in the line", false),
        ] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(Token::read(&path).is_ok(), good, "{text:?}");
        }
        std::fs::write(&path, [b'a'; 5000]).unwrap();
        assert!(Token::read(&path).is_err() && Token::read(dir.path()).is_err());
    }
}
