//! Values on their way to the server and back, in PostgreSQL's binary forms.

use super::wire::{Done, unexpected};
use bytes::{BufMut as _, Bytes, BytesMut};
use fallible_iterator::FallibleIterator as _;
use postgres_protocol::message::backend::DataRowBody;
use std::ops::Range;

/// A value of a statement.
pub(super) enum Param<'a> {
    /// `int8`.
    Int(i64),
    /// `text`, and whatever is cast from it.
    Text(&'a str),
    /// `text`, or null.
    Maybe(Option<&'a str>),
    /// `bytea`, or null.
    Bytes(Option<&'a [u8]>),
    /// pgvector's `vector`.
    Vector(&'a [f32]),
}

impl Param<'_> {
    /// 0 for text, 1 for binary.
    pub fn format(&self) -> i16 {
        i16::from(matches!(self, Self::Int(_) | Self::Vector(_) | Self::Bytes(_)))
    }

    pub fn is_null(&self) -> bool {
        matches!(self, Self::Maybe(None) | Self::Bytes(None))
    }

    pub fn write(&self, out: &mut BytesMut) {
        match self {
            Self::Int(number) => out.put_i64(*number),
            Self::Text(text) | Self::Maybe(Some(text)) => out.put_slice(text.as_bytes()),
            Self::Bytes(Some(bytes)) => out.put_slice(bytes),
            Self::Maybe(None) | Self::Bytes(None) => {}
            Self::Vector(numbers) => put_vector(numbers, out),
        }
    }
}

/// A field of a row that is copied: its length, and what `write` writes; of null the length −1.
pub(super) fn put_field(value: &Param<'_>, out: &mut BytesMut) {
    if value.is_null() {
        return out.put_i32(-1);
    }
    let start = out.len();
    out.put_i32(0);
    value.write(out);
    let length = (out.len() - start - 4) as i32;
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

/// pgvector's binary form: the dimension, an unused number, and each number, all big-endian.
fn put_vector(numbers: &[f32], out: &mut BytesMut) {
    out.put_u16(numbers.len() as u16);
    out.put_u16(0);
    numbers.iter().for_each(|&x| out.put_f32(x));
}

/// A row that was read; all its values are in binary.
#[derive(Default)]
pub(super) struct Row {
    bytes: Bytes,
    fields: Vec<Option<Range<usize>>>,
}

impl Row {
    /// Takes the next row.
    pub fn read(&mut self, body: &DataRowBody) -> Done<()> {
        self.bytes = body.buffer_bytes().clone();
        self.fields.clear();
        let mut ranges = body.ranges();
        while let Some(range) = ranges.next()? {
            self.fields.push(range);
        }
        Ok(())
    }

    fn field(&self, place: usize) -> Done<&[u8]> {
        let range = self.fields.get(place).and_then(Option::as_ref);
        range.and_then(|range| self.bytes.get(range.clone())).ok_or_else(unexpected)
    }

    /// An `int8`.
    pub fn int(&self, place: usize) -> Done<i64> {
        Ok(i64::from_be_bytes(self.field(place)?.try_into().map_err(|_| unexpected())?))
    }

    /// A `float8`.
    pub fn real(&self, place: usize) -> Done<f64> {
        Ok(f64::from_be_bytes(self.field(place)?.try_into().map_err(|_| unexpected())?))
    }

    /// A `bytea`.
    pub fn bytes(&self, place: usize) -> Done<&[u8]> {
        self.field(place)
    }

    /// A `text`.
    pub fn text(&self, place: usize) -> Done<String> {
        String::from_utf8(self.field(place)?.to_vec()).map_err(|_| unexpected())
    }

    /// Appends the numbers of a `vector`.
    pub fn vector(&self, place: usize, into: &mut Vec<f32>) -> Done<()> {
        let (_, numbers) = self.field(place)?.split_at_checked(4).ok_or_else(unexpected)?;
        let (numbers, rest) = numbers.as_chunks::<4>();
        if !rest.is_empty() {
            return Err(unexpected());
        }
        into.extend(numbers.iter().map(|&b| f32::from_be_bytes(b)));
        Ok(())
    }
}
