//! Event files for TensorBoard, written as training goes: `tensorboard --logdir runs`.
//!
//! A file is a row of records: length `u64`, its masked CRC-32C, the message `Event`, its masked
//! CRC-32C, little-endian. See tensorflow/core/util/event.proto and
//! tensorflow/core/lib/io/record_writer.cc.

use crate::{Error, Result};
use prost::{Message, Oneof};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

#[derive(Clone, PartialEq, Message)]
struct Event {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(oneof = "What", tags = "3, 5, 7")]
    what: Option<What>,
}

#[derive(Clone, PartialEq, Oneof)]
enum What {
    #[prost(string, tag = "3")]
    FileVersion(String),
    #[prost(message, tag = "5")]
    Summary(Summary),
    #[prost(message, tag = "7")]
    SessionLog(SessionLog),
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Scalar>,
}

#[derive(Clone, PartialEq, Message)]
struct Scalar {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, tag = "2")]
    simple_value: f32,
}

#[derive(Clone, PartialEq, Message)]
struct SessionLog {
    /// 1: a (new) start; what earlier files tell of this step and later ones is void.
    #[prost(int32, tag = "1")]
    status: i32,
}

/// An event file that grows.
pub(super) struct Events {
    file: File,
    path: PathBuf,
}

impl Events {
    /// A new file in `folder` for the steps after `done`.
    pub fn create(folder: &Path, done: u64) -> Result<Self> {
        let name = format!("events.out.tfevents.{:.0}.{}.siamese", now(), std::process::id());
        let path = folder.join(name);
        let file = OpenOptions::new().append(true).create(true).open(&path);
        let mut events = Self { file: file.map_err(Error::io("create", &path))?, path };
        events.add(0, What::FileVersion("brain.Event:2".into()))?;
        events.add(done + 1, What::SessionLog(SessionLog { status: 1 }))?;
        Ok(events)
    }

    /// Adds figures of a step.
    pub fn scalars<'a>(
        &mut self,
        step: u64,
        scalars: impl IntoIterator<Item = (&'a str, f64)>,
    ) -> Result<()> {
        let scalar = |(tag, value): (&str, f64)| Scalar { tag: tag.into(), simple_value: value as f32 };
        self.add(step, What::Summary(Summary { value: scalars.into_iter().map(scalar).collect() }))
    }

    fn add(&mut self, step: u64, what: What) -> Result<()> {
        let event = Event { wall_time: now(), step: step as i64, what: Some(what) };
        // One write a record: a reader beside us sees whole records.
        self.file.write_all(&record(&event.encode_to_vec())).map_err(Error::io("write", &self.path))
    }
}

fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let mut bytes = length.to_vec();
    bytes.extend(masked(&length));
    bytes.extend(data);
    bytes.extend(masked(data));
    bytes
}

/// The format's CRC: rotated and shifted, for the CRC of data that hold CRCs is weak.
fn masked(data: &[u8]) -> [u8; 4] {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// The first record of a file that TensorFlow 2 wrote: version, at 2020-09-13T12:26:40Z.
    #[test]
    fn records_have_the_formats_frame() {
        let event = Event {
            wall_time: 1_600_000_000.0,
            step: 0,
            what: Some(What::FileVersion("brain.Event:2".into())),
        };
        let bytes = record(&event.encode_to_vec());
        assert_eq!(bytes[..12], [24, 0, 0, 0, 0, 0, 0, 0, 0xa3, 0x7f, 0x4b, 0x22]);
        assert_eq!(bytes.len(), 8 + 4 + 24 + 4);
        assert_eq!(bytes[12..21], [9, 0, 0, 0, 0, 0x84, 0xd7, 0xd7, 0x41]);
        assert_eq!(&bytes[21..36], b"\x1a\x0dbrain.Event:2");
    }

    #[test]
    fn a_file_holds_what_was_added() {
        let dir = tempfile::tempdir().unwrap();
        let mut events = Events::create(dir.path(), 10).unwrap();
        events.scalars(11, [("loss", 0.5), ("lr", 1e-3)]).unwrap();
        let bytes = std::fs::read(&events.path).unwrap();
        let mut rest = bytes.as_slice();
        let mut found = Vec::new();
        while !rest.is_empty() {
            let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
            assert_eq!(rest[8..12], masked(&rest[..8]));
            let data = &rest[12..12 + length];
            assert_eq!(rest[12 + length..16 + length], masked(data));
            found.push(Event::decode(data).unwrap());
            rest = &rest[16 + length..];
        }
        assert_eq!(found.iter().map(|e| e.step).collect::<Vec<_>>(), [0, 11, 11]);
        let Some(What::Summary(summary)) = &found[2].what else { panic!("{found:?}") };
        assert_eq!(summary.value[0], Scalar { tag: "loss".into(), simple_value: 0.5 });
    }
}
