//! Listening: connections, from the first to the last.

use super::recogniser::Recogniser;
use super::shared::{Client, Conduct, Shared, routes};
use super::watch::Watch;
use crate::{Error, Result};
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// How long to wait where the system has no further connection to give (too many open files, say).
const BREATH: Duration = Duration::from_millis(50);
/// The most bytes of a request's head.
const MAX_HEAD_BYTES: usize = 64 << 10;

/// A server that listens.
pub struct Server {
    listener: std::net::TcpListener,
    address: SocketAddr,
    shared: Shared,
    stop: Stop,
}

/// Stops a server from elsewhere.
#[derive(Clone, Default)]
pub struct Stop(Arc<Notify>);

impl Stop {
    /// No further request is taken; those under way are answered.
    pub fn stop(&self) {
        self.0.notify_one();
    }
}

impl Server {
    /// Begins to listen; requests wait until [`Server::run`].
    ///
    /// # Errors
    /// Where the address is taken, or not this machine's.
    pub fn bind(address: SocketAddr, recogniser: Recogniser, conduct: Conduct) -> Result<Self> {
        let listen = || {
            let listener = std::net::TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            let address = listener.local_addr()?;
            Ok((listener, address))
        };
        let (listener, address) = listen().map_err(|e: std::io::Error| {
            let why = "cannot be listened to; give --listen another address or port (0 takes any free one)";
            Error::invalid_because(address, why, e)
        })?;
        let shared = Shared::new(recogniser, conduct, address.ip().is_loopback())?;
        Ok(Self { listener, address, shared, stop: Stop::default() })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What stops it.
    pub fn stop(&self) -> Stop {
        self.stop.clone()
    }

    /// Answers until it is stopped.
    ///
    /// # Errors
    /// Where the operating system refuses.
    pub fn run(self) -> Result<()> {
        let failed =
            |e| Error::Runtime { runtime: "the server", action: "listen".into(), source: Box::new(e) };
        // Changes by others are waited for on a thread of its own, which ends with this.
        let _watch = Watch::begin(self.shared.recogniser())?;
        // One thread moves bytes; pictures are recognised on others.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        runtime.block_on(async {
            let listener = TcpListener::from_std(self.listener).map_err(failed)?;
            serve(listener, self.shared, self.stop).await;
            Ok(())
        })
    }
}

/// Takes connections until it is told to stop; then those under way are given a while.
async fn serve(listener: TcpListener, shared: Shared, stop: Stop) {
    let (graceful, farewell) = (GracefulShutdown::new(), shared.limits().farewell);
    let routes = routes(shared.clone());
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.0.notified() => break,
        };
        match accepted {
            Ok((stream, peer)) => attend(stream, peer.ip(), &shared, routes.clone(), &graceful),
            Err(_) => tokio::time::sleep(BREATH).await,
        }
    }
    drop(listener);
    // What takes longer is cut off with its connection.
    let _ = tokio::time::timeout(farewell, graceful.shutdown()).await;
}

/// Answers one connection, on a task of its own.
fn attend(stream: TcpStream, peer: IpAddr, shared: &Shared, routes: Router, graceful: &GracefulShutdown) {
    let Some(place) = shared.connections().enter() else {
        // All others are being worked on. The client sees that the connection ends.
        return;
    };
    // Answers are small: none waits for more to be sent with it.
    let _ = stream.set_nodelay(true);
    let routes = routes.layer(Extension(Client { peer, place: Arc::clone(&place) }));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(shared.limits().silence);
    http.max_buf_size(MAX_HEAD_BYTES).half_close(true);
    let service = TowerToHyperService::new(routes);
    let connection = graceful.watch(http.serve_connection(TokioIo::new(stream), service));
    tokio::spawn(async move {
        tokio::select! {
            // A client that goes away or sends nonsense is its own affair.
            _ = connection => {}
            () = place.taken() => {}
        }
    });
}
