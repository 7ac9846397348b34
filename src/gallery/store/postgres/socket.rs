//! The socket under a connection: TCP, or a Unix socket of the same machine.

use super::address::Address;
use socket2::{SockRef, TcpKeepalive};
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs as _};
#[cfg(unix)]
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// A connection that is silent for so long is asked whether it is still there.
const SILENCE: Duration = Duration::from_secs(20);
/// How often it is asked then.
const AGAIN: Duration = Duration::from_secs(5);

pub(super) enum Socket {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
}

impl Socket {
    pub fn open(address: &Address) -> io::Result<Self> {
        #[cfg(unix)]
        if address.host.starts_with('/') {
            let path = format!("{}/.s.PGSQL.{}", address.host, address.port);
            return UnixStream::connect(path).map(Self::Unix);
        }
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
        for place in (address.host.as_str(), address.port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&place, address.connect_timeout) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    // A machine that has gone without a word is found out, while a long statement is waited for.
                    let keepalive = TcpKeepalive::new().with_time(SILENCE).with_interval(AGAIN);
                    SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
                    return Ok(Self::Tcp(stream));
                }
                Err(e) => last = e,
            }
        }
        Err(last)
    }

    /// How long to wait for something to read; none waits for ever.
    pub fn patience(&self, most: Option<Duration>) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.set_read_timeout(most),
            #[cfg(unix)]
            Self::Unix(stream) => stream.set_read_timeout(most),
        }
    }
}

impl Read for Socket {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(into),
            #[cfg(unix)]
            Self::Unix(stream) => stream.read(into),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            #[cfg(unix)]
            Self::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
