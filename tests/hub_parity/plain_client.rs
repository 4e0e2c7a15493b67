//! The smallest blocking HTTP and server-sent-events client that can tell
//! servers apart: it hides nothing of what came over the wire.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// Long enough for a loaded machine; no test waits this long and passes.
const PATIENCE: Duration = Duration::from_secs(10);

/// A response, its body read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

/// One request to be made on a connection of its own.
pub(crate) struct Ask<'a> {
    addr: SocketAddr,
    from: Option<[u8; 4]>,
    patience: Duration,
    method: &'a str,
    path: &'a str,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

/// An open stream.
pub(crate) struct Stream {
    reader: BufReader<TcpStream>,
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) client_id: String,
    /// The handshake as it came, without the chunk sizes.
    pub(crate) handshake: String,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Message {
    pub(crate) event: String,
    pub(crate) data: String,
    pub(crate) id: String,
}

/// How a stream came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Clean,
    Cut,
    Reset,
}

pub(crate) fn ask<'a>(addr: SocketAddr, method: &'a str, path: &'a str) -> Ask<'a> {
    Ask { addr, from: None, patience: PATIENCE, method, path, headers: Vec::new(), body: Vec::new() }
}

impl Ask<'_> {
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub(crate) fn token(self, token: &str) -> Self {
        self.header("authorization", token)
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        self.raw("application/json", body.to_string())
    }

    pub(crate) fn raw(mut self, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self.header("content-type", content_type)
    }

    /// Asks from another address of the loopback network.
    pub(crate) fn from(mut self, ip: [u8; 4]) -> Self {
        self.from = Some(ip);
        self
    }

    /// Gives up after this long without a byte.
    pub(crate) fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    pub(crate) fn send(self) -> Answer {
        self.try_send().expect("an answer")
    }

    pub(crate) fn try_send(self) -> io::Result<Answer> {
        let mut reader = self.header("connection", "close").start()?;
        let (status, headers) = read_head(&mut reader)?;
        let mut body = String::new();
        if header(&headers, "transfer-encoding") == Some("chunked") {
            while let Some(chunk) = read_chunk(&mut reader)? {
                body.push_str(&chunk);
            }
        } else {
            reader.read_to_string(&mut body)?;
        }
        Ok(Answer { status, headers, body })
    }

    /// Reads the head alone: what follows is a stream, of any kind.
    pub(crate) fn open(self) -> io::Result<Stream> {
        let mut reader = self.start()?;
        let (status, headers) = read_head(&mut reader)?;
        Ok(Stream { reader, status, headers, client_id: String::new(), handshake: String::new() })
    }

    fn start(self) -> io::Result<BufReader<TcpStream>> {
        let mut socket = match self.from {
            None => TcpStream::connect(self.addr)?,
            Some(ip) => {
                let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
                socket.bind(&SocketAddr::from((ip, 0)).into())?;
                socket.connect(&self.addr.into())?;
                socket.into()
            }
        };
        socket.set_read_timeout(Some(self.patience))?;
        let mut head = format!("{} {} HTTP/1.1\r\nHost: {}\r\n", self.method, self.path, self.addr);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("content-length: {}\r\n\r\n", self.body.len()));
        socket.write_all(&[head.as_bytes(), &self.body].concat())?;
        Ok(BufReader::new(socket))
    }
}

impl Answer {
    pub(crate) fn value(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("JSON, not {:?}", self.body))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }
}

impl Stream {
    pub(crate) fn open(addr: SocketAddr) -> Self {
        Self::try_open(addr).expect("a stream")
    }

    pub(crate) fn try_open(addr: SocketAddr) -> io::Result<Self> {
        let mut stream = ask(addr, "GET", "/api/realtime").open()?;
        if stream.status == 200 {
            stream.handshake = read_chunk(&mut stream.reader)?.unwrap_or_default();
            stream.client_id = parse(&stream.handshake).id;
        }
        Ok(stream)
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }

    /// The next message, which both servers write as one chunk.
    pub(crate) fn next(&mut self) -> Message {
        parse(&self.next_raw())
    }

    pub(crate) fn next_raw(&mut self) -> String {
        read_chunk(&mut self.reader).expect("a message").expect("a message, not the end")
    }

    /// So many messages, sorted: servers promise no order.
    pub(crate) fn take(&mut self, count: usize) -> Vec<Message> {
        let mut messages: Vec<_> = (0..count).map(|_| self.next()).collect();
        messages.sort();
        messages
    }

    /// Reads to the end of the stream.
    pub(crate) fn end(&mut self) -> End {
        loop {
            match read_chunk(&mut self.reader) {
                Ok(Some(_)) => {}
                Ok(None) => return End::Clean,
                Err(error) => match error.kind() {
                    ErrorKind::UnexpectedEof => return End::Cut,
                    ErrorKind::ConnectionReset => return End::Reset,
                    _ => panic!("neither an end nor a message: {error}"),
                },
            }
        }
    }

    /// Nothing comes for this long.
    pub(crate) fn is_silent_for(&mut self, time: Duration) -> bool {
        self.reader.get_ref().set_read_timeout(Some(time)).expect("a time-out");
        let silent = matches!(
            self.reader.fill_buf(),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
        );
        self.reader.get_ref().set_read_timeout(Some(PATIENCE)).expect("a time-out");
        silent
    }

    pub(crate) fn socket(&self) -> &TcpStream {
        self.reader.get_ref()
    }
}

impl Message {
    pub(crate) fn value(&self) -> Value {
        serde_json::from_str(&self.data).unwrap_or_else(|_| panic!("JSON, not {:?}", self.data))
    }
}

fn parse(raw: &str) -> Message {
    let whole = || {
        let rest = raw.strip_prefix("id:")?;
        let (id, rest) = rest.split_once("\nevent:")?;
        let (event, rest) = rest.split_once("\ndata:")?;
        let data = rest.strip_suffix("\n\n")?;
        Some(Message { event: event.into(), data: data.into(), id: id.into() })
    };
    whole().unwrap_or_else(|| panic!("id, event, data and a blank line, not {raw:?}"))
}

fn read_head(reader: &mut impl BufRead) -> io::Result<(u16, Vec<(String, String)>)> {
    let line = read_line(reader)?;
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| io::Error::other(format!("a status line, not {line:?}")))?;
    let mut headers = Vec::new();
    loop {
        let line = read_line(reader)?;
        match line.split_once(": ") {
            Some((name, value)) => headers.push((name.to_ascii_lowercase(), value.to_owned())),
            None => return Ok((status, headers)),
        }
    }
}

fn read_chunk(reader: &mut impl BufRead) -> io::Result<Option<String>> {
    let size = read_line(reader)?;
    let size = usize::from_str_radix(&size, 16).map_err(|_| io::Error::other(size))?;
    let mut chunk = vec![0; size + 2];
    reader.read_exact(&mut chunk)?;
    chunk.truncate(size);
    let chunk = String::from_utf8(chunk).map_err(io::Error::other)?;
    Ok(Some(chunk).filter(|chunk| !chunk.is_empty()))
}

fn read_line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    match line.strip_suffix("\r\n") {
        Some(line) => Ok(line.to_owned()),
        None => Err(ErrorKind::UnexpectedEof.into()),
    }
}

fn header<'a>(headers: &'a [(String, String)], wanted: &str) -> Option<&'a str> {
    headers.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str())
}
