//! The server: writes what was rendered beforehand, and does nothing else.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};

use traffic::{ACCEPTED, CLIENT, HEAD};

use crate::{TOPIC, work::now};

/// Different events in a row before they repeat. All of them fit into the processor's cache.
const BLOCK: usize = 1000;

/// Serves streams for ever. `GET /{events}/{per_second}/api/realtime` says what is to be sent on one, with 0 for as fast as
/// it goes, and the first submit of topics after it, when.
pub fn serve() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("http://{}", listener.local_addr()?);
    let block: Vec<Vec<u8>> = (0..BLOCK).map(|number| traffic::event(TOPIC, number)).collect();
    let (submitted, begin) = mpsc::channel();
    let begin = Mutex::new(begin);
    thread::scope(|scope| {
        for stream in listener.incoming().flatten() {
            let (block, begin, submitted) = (&block, &begin, submitted.clone());
            // Some receivers submit their topics more than once, and wait for each answer.
            scope.spawn(move || answer(stream, block, begin, submitted));
        }
    });
    Ok(())
}

fn answer(
    mut stream: TcpStream,
    block: &[Vec<u8>],
    begin: &Mutex<mpsc::Receiver<()>>,
    submitted: mpsc::Sender<()>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (method, path) = read_request(&stream)?;
    // Whether a topic can deliver anything is asked by a list, which must not take the place of the stream.
    if method == "GET" && !path.ends_with("/api/realtime") {
        return stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    }
    let mut parts = path.split('/').skip(1).map_while(|part| part.parse::<usize>().ok());
    let (Some(events), Some(pace), "GET") = (parts.next(), parts.next(), &*method) else {
        stream.write_all(ACCEPTED)?;
        let _ = submitted.send(());
        return Ok(());
    };
    stream.write_all(HEAD)?;
    stream.write_all(&traffic::handshake(CLIENT))?;
    let begin = begin.lock().expect("nobody panics with it");
    let _ = begin.recv();
    match pace {
        0 => burst(&mut stream, block, events),
        pace => paced(&mut stream, block.to_vec(), events, pace),
    }?;
    // The receiver is gone when it has what it wanted.
    stream.read(&mut [0]).map(drop)
}

fn burst(stream: &mut TcpStream, block: &[Vec<u8>], mut events: usize) -> io::Result<()> {
    let whole = block.concat();
    while events > 0 {
        let now = events.min(block.len());
        stream.write_all(&whole[..now * block[0].len()])?;
        events -= now;
    }
    Ok(())
}

fn paced(stream: &mut TcpStream, mut block: Vec<Vec<u8>>, events: usize, pace: usize) -> io::Result<()> {
    let began = Instant::now();
    for number in 0..events {
        let due = began + Duration::from_secs_f64(number as f64 / pace as f64);
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let event = &mut block[number % BLOCK];
        traffic::set_stamp(event, now());
        stream.write_all(event)?;
    }
    Ok(())
}

/// Reads a request to its end, and says its method and path.
fn read_request(stream: &TcpStream) -> io::Result<(String, String)> {
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.split_once(':') else { break };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    io::copy(&mut reader.take(length), &mut io::sink())?;
    let mut words = first.split(' ').map(str::to_owned);
    Ok((words.next().unwrap_or_default(), words.next().unwrap_or_default()))
}

/// Says to the sender that it may begin, as a client's submit does.
pub fn submit(url: &str) {
    let address = url.trim_start_matches("http://").split('/').next().expect("a host");
    let mut socket = TcpStream::connect(address).expect("the sender listens");
    let body = format!(r#"{{"clientId":"{CLIENT}","subscriptions":["{TOPIC}"]}}"#);
    let head = format!("POST /api/realtime HTTP/1.1\r\nContent-Length: {}\r\n\r\n", body.len());
    socket.write_all((head + &body).as_bytes()).expect("the sender reads");
}
