//! A connection: PostgreSQL's protocol over a socket, one statement after the other.
//!
//! Messages are those of `postgres-protocol`. There is no client on top of it that would not bring an
//! asynchronous runtime along, and have the rest of the program built again for it.

use super::address::Address;
use super::row::{Param, Row};
use super::socket::Socket;
use bytes::{BufMut as _, BytesMut};
use fallible_iterator::FallibleIterator as _;
use postgres_protocol::IsNull;
use postgres_protocol::authentication::{md5_hash, sasl};
use postgres_protocol::message::backend::{ErrorFields, Message};
use postgres_protocol::message::frontend::{self, BindError, CopyData};
use std::collections::HashMap;
use std::io::{self, Read as _, Write as _};
use std::time::Duration;

/// Bytes that are read, or copied, at a time.
const CHUNK: usize = 64 << 10;
/// Values travel in binary.
const BINARY: i16 = 1;

/// Why something could not be done.
#[derive(Debug)]
pub(super) enum Failure {
    /// The connection is gone, or there was none.
    Lost(io::Error),
    /// What the server says.
    Refused(Refused),
    /// What we found in its answer.
    Ours(crate::Error),
}

/// The server's complaint.
#[derive(Clone, Debug, Default, thiserror::Error)]
#[error("{message} (SQLSTATE {code}){}", detail.as_deref().map(|d| format!(": {d}")).unwrap_or_default())]
pub(super) struct Refused {
    pub code: String,
    pub message: String,
    pub detail: Option<String>,
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Lost(error)
    }
}

pub(super) type Done<T> = Result<T, Failure>;

/// An open connection.
pub(super) struct Connection {
    socket: Socket,
    input: BytesMut,
    output: BytesMut,
    /// Statements that the server has prepared, by their text.
    prepared: HashMap<String, String>,
    /// Names that were given to statements.
    names: usize,
    notified: bool,
    /// Outside of a transaction, with nothing under way.
    at_rest: bool,
    /// What the search was set to; see `search`.
    pub ef_search: Option<u32>,
}

impl Connection {
    /// Connects and signs in.
    pub fn open(address: &Address) -> Done<Self> {
        let socket = Socket::open(address)?;
        let mut connection = Self {
            socket,
            input: BytesMut::with_capacity(CHUNK),
            output: BytesMut::new(),
            prepared: HashMap::new(),
            names: 0,
            notified: false,
            at_rest: false,
            ef_search: None,
        };
        // A server that answers nothing is none.
        connection.socket.patience(Some(address.connect_timeout))?;
        let who = [
            ("user", address.user.as_str()),
            ("database", &address.database),
            ("client_encoding", "UTF8"),
            ("application_name", &address.application),
        ];
        frontend::startup_message(who, &mut connection.output)?;
        connection.send()?;
        connection.sign_in(address)?;
        connection.finish(|_| Ok(()))?;
        connection.socket.patience(None)?;
        Ok(connection)
    }

    fn sign_in(&mut self, address: &Address) -> Done<()> {
        let password = || {
            let why = "the server asks for a password; give one by PGPASSWORD, or in ~/.pgpass";
            address.password.as_deref().ok_or_else(|| ours(address, why))
        };
        loop {
            match self.receive()? {
                Message::AuthenticationOk => return Ok(()),
                Message::AuthenticationCleartextPassword => {
                    frontend::password_message(password()?.as_bytes(), &mut self.output)?;
                    self.send()?;
                }
                Message::AuthenticationMd5Password(asked) => {
                    let hash = md5_hash(address.user.as_bytes(), password()?.as_bytes(), asked.salt());
                    frontend::password_message(hash.as_bytes(), &mut self.output)?;
                    self.send()?;
                }
                Message::AuthenticationSasl(asked) => {
                    let known = asked.mechanisms().any(|name| Ok(name == sasl::SCRAM_SHA_256))?;
                    if !known {
                        return Err(ours(
                            address,
                            "the server asks for a kind of password that is not known here",
                        ));
                    }
                    self.scram(password()?)?;
                }
                Message::ErrorResponse(told) => return Err(refused(told.fields()).0),
                Message::NoticeResponse(_) | Message::ParameterStatus(_) => {}
                _ => return Err(ours(address, "the server asks for a sign-in that is not known here")),
            }
        }
    }

    /// SCRAM-SHA-256 (RFC 7677): neither side tells the password, and each proves that it knows it.
    fn scram(&mut self, password: &str) -> Done<()> {
        let mut scram = sasl::ScramSha256::new(password.as_bytes(), sasl::ChannelBinding::unsupported());
        frontend::sasl_initial_response(sasl::SCRAM_SHA_256, scram.message(), &mut self.output)?;
        self.send()?;
        loop {
            match self.receive()? {
                Message::AuthenticationSaslContinue(told) => {
                    scram.update(told.data())?;
                    frontend::sasl_response(scram.message(), &mut self.output)?;
                    self.send()?;
                }
                Message::AuthenticationSaslFinal(told) => return Ok(scram.finish(told.data())?),
                Message::ErrorResponse(told) => return Err(refused(told.fields()).0),
                _ => return Err(unexpected()),
            }
        }
    }

    /// Runs statements without values; what they return is passed over.
    pub fn run(&mut self, sql: &str) -> Done<()> {
        self.begin();
        frontend::query(sql, &mut self.output)?;
        self.send()?;
        self.finish(|_| Ok(())).map(|_| ())
    }

    /// Runs a statement; `take` is given the rows. Tells how many there were, or how many were changed.
    pub fn each(&mut self, sql: &str, values: &[Param<'_>], take: impl FnMut(&Row) -> Done<()>) -> Done<u64> {
        self.begin();
        let name = match self.prepared.get(sql) {
            Some(name) => name.clone(),
            None => {
                self.names += 1;
                let name = format!("s{}", self.names);
                frontend::parse(&name, sql, [], &mut self.output)?;
                name
            }
        };
        let formats = values.iter().map(Param::format);
        let write = |value: &Param<'_>, out: &mut BytesMut| {
            value.write(out);
            Ok(if value.is_null() { IsNull::Yes } else { IsNull::No })
        };
        frontend::bind("", &name, formats, values, write, [BINARY], &mut self.output).map_err(
            |e| match e {
                BindError::Conversion(e) => io::Error::other(e),
                BindError::Serialization(e) => e,
            },
        )?;
        frontend::execute("", 0, &mut self.output)?;
        frontend::sync(&mut self.output);
        self.send()?;
        let done = self.finish(take);
        if done.is_ok() {
            self.prepared.entry(sql.to_string()).or_insert(name);
        } else {
            // It may have been prepared for what is no longer so.
            self.prepared.remove(sql);
        }
        done
    }

    /// As [`Connection::each`], where the rows do not matter.
    pub fn execute(&mut self, sql: &str, values: &[Param<'_>]) -> Done<u64> {
        self.each(sql, values, |_| Ok(()))
    }

    /// The first row of a statement, as `read` makes it out.
    pub fn first<T>(
        &mut self,
        sql: &str,
        values: &[Param<'_>],
        read: impl Fn(&Row) -> Done<T>,
    ) -> Done<Option<T>> {
        let mut first = None;
        self.each(sql, values, |row| {
            if first.is_none() {
                first = Some(read(row)?);
            }
            Ok(())
        })?;
        Ok(first)
    }

    /// The whole number in the first row of a statement.
    pub fn number(&mut self, sql: &str, values: &[Param<'_>]) -> Done<i64> {
        self.first(sql, values, |row| row.int(0))?.ok_or_else(unexpected)
    }

    /// Copies rows into a table, in the binary form of `COPY`; `rows` writes each.
    pub fn copy<T>(&mut self, sql: &str, rows: &[T], write: impl Fn(&T, usize, &mut BytesMut)) -> Done<()> {
        self.begin();
        frontend::query(sql, &mut self.output)?;
        self.send()?;
        loop {
            match self.receive()? {
                Message::CopyInResponse(_) => break,
                Message::ErrorResponse(told) => {
                    let (failure, ends) = refused(told.fields());
                    if !ends {
                        self.finish(|_| Ok(()))?;
                    }
                    return Err(failure);
                }
                Message::NoticeResponse(_) | Message::ParameterStatus(_) => {}
                _ => return Err(unexpected()),
            }
        }
        let mut chunk = BytesMut::with_capacity(2 * CHUNK);
        chunk.put_slice(b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0");
        for (place, row) in rows.iter().enumerate() {
            write(row, place, &mut chunk);
            if chunk.len() >= CHUNK {
                CopyData::new(chunk.split())?.write(&mut self.output);
                self.send()?;
            }
        }
        chunk.put_i16(-1);
        CopyData::new(chunk.split())?.write(&mut self.output);
        frontend::copy_done(&mut self.output);
        self.send()?;
        self.finish(|_| Ok(())).map(|_| ())
    }

    /// Waits for a notification, at most for so long; tells whether there was one.
    pub fn wait(&mut self, most: Duration) -> Done<bool> {
        self.socket.patience(Some(most))?;
        while !self.notified {
            match self.receive() {
                Ok(Message::NotificationResponse(_)) => self.notified = true,
                Ok(Message::ErrorResponse(told)) => return Err(refused(told.fields()).0),
                Ok(_) => {}
                Err(Failure::Lost(e)) if is_late(&e) => break,
                Err(e) => return Err(e),
            }
        }
        self.socket.patience(None)?;
        Ok(std::mem::take(&mut self.notified))
    }

    /// Whether it can be used again.
    pub fn is_at_rest(&self) -> bool {
        self.at_rest
    }

    fn begin(&mut self) {
        self.at_rest = false;
        self.output.clear();
    }

    fn send(&mut self) -> Done<()> {
        self.socket.write_all(&self.output)?;
        self.output.clear();
        Ok(())
    }

    /// Reads all that answers a statement, to where the server waits for another.
    fn finish(&mut self, mut take: impl FnMut(&Row) -> Done<()>) -> Done<u64> {
        let (mut count, mut failure, mut row) = (0, None, Row::default());
        loop {
            match self.receive()? {
                Message::DataRow(body) => {
                    row.read(&body)?;
                    // What is left unread makes the connection useless, which whoever holds it sees.
                    take(&row)?;
                }
                Message::CommandComplete(told) => {
                    let words = told.tag()?.split(' ').next_back();
                    count = words.and_then(|word| word.parse().ok()).unwrap_or(0);
                }
                Message::ErrorResponse(told) => match refused(told.fields()) {
                    (failure, true) => return Err(failure),
                    (told, false) => failure = Some(told),
                },
                Message::NotificationResponse(_) => self.notified = true,
                Message::ReadyForQuery(told) => {
                    self.at_rest = told.status() == b'I';
                    return failure.map_or(Ok(count), Err);
                }
                _ => {}
            }
        }
    }

    fn receive(&mut self) -> Done<Message> {
        loop {
            if let Some(message) = Message::parse(&mut self.input)? {
                return Ok(message);
            }
            let before = self.input.len();
            self.input.resize(before + CHUNK, 0);
            let read = self.socket.read(&mut self.input[before..]);
            self.input.truncate(before + read.as_ref().map_or(0, |&n| n));
            match read {
                Ok(0) => return Err(Failure::Lost(io::ErrorKind::UnexpectedEof.into())),
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e.into()),
            }
        }
    }
}

impl Drop for Connection {
    /// Says farewell, so that the server need not find out.
    fn drop(&mut self) {
        self.output.clear();
        frontend::terminate(&mut self.output);
        let _ = self.send();
    }
}

/// Whether nothing came in time.
fn is_late(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// What the server says, and whether it ends the connection with it.
fn refused(mut fields: ErrorFields<'_>) -> (Failure, bool) {
    let (mut told, mut severity) = (Refused::default(), String::new());
    while let Ok(Some(field)) = fields.next() {
        let text = String::from_utf8_lossy(field.value_bytes()).into_owned();
        match field.type_() {
            b'V' => severity = text,
            b'C' => told.code = text,
            b'M' => told.message = text,
            b'D' => told.detail = Some(text),
            _ => {}
        }
    }
    let ends = matches!(severity.as_str(), "FATAL" | "PANIC");
    // What ends it may pass, unless it is that somebody may not come in, or that there is no such database.
    let passes = ends && !["28", "3D", "42"].iter().any(|class| told.code.starts_with(class));
    (if passes { Failure::Lost(io::Error::other(told)) } else { Failure::Refused(told) }, ends)
}

/// An answer that the protocol does not have here.
pub(super) fn unexpected() -> Failure {
    Failure::Refused(Refused { code: "08P01".into(), message: "an unexpected answer".into(), detail: None })
}

fn ours(address: &Address, why: &str) -> Failure {
    Failure::Ours(crate::Error::invalid(&address.shown, why))
}
