//! A writer for one table of the Parquet format: `source` and `label` (strings) and `embedding` (a
//! list of floats), uncompressed, in plain encoding.
//!
//! The `parquet` crate brings some forty others; this table needs eighty lines. See
//! <https://parquet.apache.org/docs/file-format/>; the numbers of fields are those of
//! parquet.thrift, in Thrift's compact protocol.

use super::sink::{Sink, bytes};
use crate::Result;
use crate::files::Replacement;
use crate::tower::TowerSpec;
use ndarray::ArrayView1;

/// Rows of a row group, which is held in memory.
const GROUP_ROWS: usize = 4096;
const MAGIC: &[u8] = b"PAR1";

// Enumerations of parquet.thrift.
const FLOAT: i64 = 4;
const BYTE_ARRAY: i64 = 6;
const REQUIRED: i64 = 0;
const REPEATED: i64 = 2;
const UTF8: i64 = 0;
const LIST: i64 = 3;
const PLAIN: i64 = 0;
const RLE: i64 = 3;

/// The columns: path and physical type.
const COLUMNS: [(&[&str], i64); 3] =
    [(&["source"], BYTE_ARRAY), (&["label"], BYTE_ARRAY), (&["embedding", "list", "element"], FLOAT)];

pub(super) struct Parquet {
    file: Replacement,
    dim: usize,
    tower: [String; 2],
    /// Values of the row group in the making, by column.
    values: [Vec<u8>; 3],
    group_rows: usize,
    rows: usize,
    offset: usize,
    groups: Vec<Thrift>,
}

impl Parquet {
    pub fn new(mut file: Replacement, tower: &TowerSpec) -> Result<Self> {
        file.append(MAGIC)?;
        Ok(Self {
            file,
            dim: tower.dim,
            tower: [tower.name.clone(), tower.sha256.clone()],
            values: Default::default(),
            group_rows: 0,
            rows: 0,
            offset: MAGIC.len(),
            groups: Vec::new(),
        })
    }

    /// Writes the row group in the making.
    fn flush(&mut self) -> Result<()> {
        if self.group_rows == 0 {
            return Ok(());
        }
        let start = self.offset;
        let mut chunks = Vec::new();
        for (column, (path, kind)) in COLUMNS.iter().enumerate() {
            let values = std::mem::take(&mut self.values[column]);
            let mut page = Vec::new();
            let mut count = self.group_rows;
            if *kind == FLOAT {
                page = levels(self.group_rows, self.dim);
                count *= self.dim;
            }
            page.extend(values);
            let header = page_header(page.len(), count).0;
            let at = self.offset;
            self.file.append(&header)?;
            self.file.append(&page)?;
            self.offset += header.len() + page.len();
            chunks.push(column_chunk(path, *kind, count, at, self.offset - at));
        }
        let mut group = Thrift::default();
        group.structs(1, 0, &chunks).int64(2, 1, self.offset - start).int64(3, 2, self.group_rows).end();
        self.groups.push(group);
        self.rows += self.group_rows;
        self.group_rows = 0;
        Ok(())
    }
}

impl Sink for Parquet {
    fn row(&mut self, source: &str, label: &str, embedding: ArrayView1<'_, f32>) -> Result<()> {
        for (text, values) in [source, label].iter().zip(&mut self.values) {
            values.extend((text.len() as u32).to_le_bytes());
            values.extend(text.as_bytes());
        }
        self.values[2].extend(bytes(embedding));
        self.group_rows += 1;
        if self.group_rows == GROUP_ROWS { self.flush() } else { Ok(()) }
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        self.flush()?;
        let [name, hash] = &self.tower;
        let pairs = [("siamese.tower", name), ("siamese.tower_sha256", hash)];
        let pairs = pairs.map(|(key, value)| {
            let mut pair = Thrift::default();
            pair.text(1, 0, key).text(2, 1, value).end();
            pair
        });
        let mut footer = Thrift::default();
        footer
            .int(1, 0, 1)
            .structs(2, 1, &schema())
            .int64(3, 2, self.rows)
            .structs(4, 3, &self.groups)
            .structs(5, 4, &pairs)
            .text(6, 5, "siamese")
            .end();
        self.file.append(&footer.0)?;
        self.file.append(&(footer.0.len() as u32).to_le_bytes())?;
        self.file.append(MAGIC)?;
        self.file.finish()
    }
}

/// `SchemaElement`s, parents before children.
fn schema() -> Vec<Thrift> {
    let mut all: [Thrift; 6] = Default::default();
    all[0].text(4, 0, "embeddings").int(5, 4, 3).end();
    for (element, name) in all[1..3].iter_mut().zip(["source", "label"]) {
        element.int(1, 0, BYTE_ARRAY).int(3, 1, REQUIRED).text(4, 3, name).int(6, 4, UTF8).end();
    }
    all[3].int(3, 0, REQUIRED).text(4, 3, "embedding").int(5, 4, 1).int(6, 5, LIST).end();
    all[4].int(3, 0, REPEATED).text(4, 3, "list").int(5, 4, 1).end();
    all[5].int(1, 0, FLOAT).int(3, 1, REQUIRED).text(4, 3, "element").end();
    all.into()
}

/// Repetition and definition levels of full lists, as run lengths: a 0 begins each list, every
/// element is there.
fn levels(rows: usize, dim: usize) -> Vec<u8> {
    let run = |into: &mut Vec<u8>, count: usize, value: u8| {
        if count > 0 {
            varint(into, (count as u64) << 1);
            into.push(value);
        }
    };
    let (mut repetition, mut definition) = (Vec::new(), Vec::new());
    for _ in 0..rows {
        run(&mut repetition, 1, 0);
        run(&mut repetition, dim - 1, 1);
    }
    run(&mut definition, rows * dim, 1);
    let with_length = |levels: Vec<u8>| [(levels.len() as u32).to_le_bytes().to_vec(), levels].concat();
    [with_length(repetition), with_length(definition)].concat()
}

/// `PageHeader` of a data page.
fn page_header(length: usize, count: usize) -> Thrift {
    let mut data = Thrift::default();
    data.int(1, 0, count as i64).int(2, 1, PLAIN).int(3, 2, RLE).int(4, 3, RLE).end();
    let mut header = Thrift::default();
    header.int(1, 0, 0).int(2, 1, length as i64).int(3, 2, length as i64).inner(5, 3, &data).end();
    header
}

/// `ColumnChunk` with its `ColumnMetaData`.
fn column_chunk(path: &[&str], kind: i64, count: usize, at: usize, length: usize) -> Thrift {
    let mut meta = Thrift::default();
    meta.int(1, 0, kind);
    meta.list(2, 1, INT32, 2);
    [PLAIN, RLE].iter().for_each(|&e| varint(&mut meta.0, zigzag(e)));
    meta.list(3, 2, BINARY, path.len());
    path.iter().for_each(|name| meta.string(name));
    meta.int(4, 3, 0).int64(5, 4, count).int64(6, 5, length).int64(7, 6, length).int64(9, 7, at).end();
    let mut chunk = Thrift::default();
    chunk.int64(2, 0, at).inner(3, 2, &meta).end();
    chunk
}

const INT32: u8 = 5;
const INT64: u8 = 6;
const BINARY: u8 = 8;
const LISTS: u8 = 9;
const STRUCT: u8 = 12;

/// A struct in Thrift's compact protocol. Fields are told with the number of the one before.
#[derive(Default)]
struct Thrift(Vec<u8>);

impl Thrift {
    fn field(&mut self, id: u8, before: u8, kind: u8) -> &mut Self {
        self.0.push((id - before) << 4 | kind);
        self
    }

    fn int(&mut self, id: u8, before: u8, value: i64) -> &mut Self {
        self.field(id, before, INT32);
        varint(&mut self.0, zigzag(value));
        self
    }

    fn int64(&mut self, id: u8, before: u8, value: usize) -> &mut Self {
        self.field(id, before, INT64);
        varint(&mut self.0, zigzag(value as i64));
        self
    }

    fn text(&mut self, id: u8, before: u8, text: &str) -> &mut Self {
        self.field(id, before, BINARY);
        self.string(text);
        self
    }

    fn string(&mut self, text: &str) {
        varint(&mut self.0, text.len() as u64);
        self.0.extend(text.as_bytes());
    }

    fn inner(&mut self, id: u8, before: u8, inner: &Self) -> &mut Self {
        self.field(id, before, STRUCT);
        self.0.extend(&inner.0);
        self
    }

    fn list(&mut self, id: u8, before: u8, kind: u8, length: usize) {
        self.field(id, before, LISTS);
        if length < 15 {
            self.0.push((length as u8) << 4 | kind);
        } else {
            self.0.push(0xF0 | kind);
            varint(&mut self.0, length as u64);
        }
    }

    fn structs(&mut self, id: u8, before: u8, inner: &[Self]) -> &mut Self {
        self.list(id, before, STRUCT, inner.len());
        inner.iter().for_each(|s| self.0.extend(&s.0));
        self
    }

    fn end(&mut self) {
        self.0.push(0);
    }
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

fn varint(into: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        into.push(value as u8 | 0x80);
        value >>= 7;
    }
    into.push(value as u8);
}
