//! Requests, byte by byte, to a server of our own.

use super::readers::Reader;
use crate::towers;
use siamese::gallery::{Gallery, Limit, Location, Shots};
use siamese::runtime::{Options as RuntimeOptions, TRACT};
use siamese::serve::{Conduct, Options, Recogniser, Server, Stop};
use siamese::tower::{Distance, TowerKind};
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

/// A server of an editable gallery; stopped at the end.
struct Served {
    address: SocketAddr,
    stop: Stop,
    _dir: tempfile::TempDir,
}

impl Served {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let tower = dir.path().join("t.onnx");
        towers::squares(&tower, 8, 4, TowerKind::Float, Distance::L2);
        let embedder = TRACT.with(RuntimeOptions::default()).unwrap().load(&tower).unwrap();
        let at = Location::from(dir.path().join("g").as_path());
        let gallery = Gallery::create(&at, embedder.spec(), &tower).unwrap();
        let options = Options { shots: Shots::Best, limit: Limit::Calibrated, exact: false, editable: true };
        let recogniser = Recogniser::new(gallery, embedder, &TRACT, options).unwrap();
        let server = Server::bind(([127, 0, 0, 1], 0).into(), recogniser, Conduct::default()).unwrap();
        let (address, stop) = (server.address(), server.stop());
        std::thread::spawn(move || server.run().unwrap());
        Self { address, stop, _dir: dir }
    }

    /// What comes back, if anything does.
    fn ask(&self, request: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(self.address).expect("the server lives");
        stream.set_read_timeout(Some(Duration::from_secs(90))).unwrap();
        // It may have had enough before all is sent.
        let _ = stream.write_all(request).and_then(|()| stream.shutdown(Shutdown::Write));
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        answer
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.stop();
    }
}

/// Whole requests; a fault of the server's own is a panic here.
pub fn request() -> Reader {
    let served = Served::new();
    Box::new(move |bytes| {
        let answer = String::from_utf8_lossy(&served.ask(bytes)).into_owned();
        assert!(!answer.contains("HTTP/1.1 5"), "{answer}");
    })
}
