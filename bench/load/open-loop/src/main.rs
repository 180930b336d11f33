//! Load at a fixed rate, from one thread: `open-loop ADDRESS RATE SECONDS CONNECTIONS`.
//!
//! Request n is due at start + n / RATE, whatever the server does. It is sent on the next connection that
//! has nothing unanswered, and its latency counts from when it was due, not from when it was sent: a
//! server that stalls is charged for every request that had to wait meanwhile (no coordinated omission).
//! Prints one line of JSON; microseconds; `seconds` has the same of each second, but for a
//! last one of less than half. Exit code 1 where a connection ended or an answer was no 301.
//!
//! Of its own because the known ones (oha, h2load) take more CPU a request than the servers measured here,
//! and so would measure themselves.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::process::exit;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

const HEAD_BYTES_MAX: usize = 64 * 1024;
const HEADERS_MAX: usize = 32;
/// How long the answers to the last requests may take.
const TAIL: Duration = Duration::from_secs(5);

struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
    /// When the unanswered request was due.
    due: Option<Instant>,
}

fn fail(what: &str) -> ! {
    eprintln!("open-loop: {what}");
    exit(1);
}

fn argument(arguments: &[String], index: usize, name: &str) -> f64 {
    match arguments.get(index).and_then(|text| text.parse::<f64>().ok()) {
        Some(value) if value > 0.0 => value,
        _ => fail(&format!("usage: open-loop ADDRESS RATE SECONDS CONNECTIONS; {name} is missing")),
    }
}

/// Bytes of the whole answer; None while it is not all there.
fn answer_bytes(received: &[u8]) -> Option<usize> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut answer = httparse::Response::new(&mut headers);
    let Ok(status) = answer.parse(received) else {
        fail("an answer is no HTTP");
    };
    let httparse::Status::Complete(head) = status else {
        return None;
    };
    if answer.code != Some(301) {
        fail(&format!("an answer is {:?}, not 301", answer.code));
    }
    let header_named = |name: &str| {
        answer.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))
    };
    if header_named("transfer-encoding").is_some() {
        fail("an answer comes in chunks, which this does not read: give it a Content-Length");
    }
    let body = header_named("content-length")
        .and_then(|header| std::str::from_utf8(header.value).ok()?.trim().parse().ok())
        .unwrap_or(0);
    (received.len() >= head + body).then_some(head + body)
}

/// Reads what there is; true once the answer is complete.
fn receive(connection: &mut Connection, buffer: &mut [u8]) -> bool {
    loop {
        match connection.stream.read(buffer) {
            Ok(0) => fail("the server closed a connection"),
            Ok(count) => connection.received.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => fail(&format!("a connection failed: {error}")),
        }
    }
    match answer_bytes(&connection.received) {
        Some(count) if count == connection.received.len() => {
            connection.received.clear();
            true
        }
        Some(_) => fail("more was answered than was asked"),
        None => false,
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000, 3).expect("bounds")
}

/// The figures of some requests, as members of a JSON object.
fn figures(latencies: &Histogram<u64>, seconds: f64) -> String {
    format!(
        r#""requests":{},"requestsPerSecond":{:.0},"p50Us":{},"p99Us":{},"p999Us":{},"maxUs":{}"#,
        latencies.len(),
        latencies.len() as f64 / seconds,
        latencies.value_at_quantile(0.5),
        latencies.value_at_quantile(0.99),
        latencies.value_at_quantile(0.999),
        latencies.max(),
    )
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let address: SocketAddr = match arguments.first().and_then(|text| text.parse().ok()) {
        Some(address) => address,
        None => fail("usage: open-loop ADDRESS RATE SECONDS CONNECTIONS"),
    };
    let rate = argument(&arguments, 1, "RATE");
    let seconds = argument(&arguments, 2, "SECONDS");
    let count = argument(&arguments, 3, "CONNECTIONS") as usize;

    let mut poll = Poll::new().expect("epoll");
    let mut connections: Vec<Connection> = (0..count)
        .map(|index| {
            let connected = std::net::TcpStream::connect(address)
                .unwrap_or_else(|error| fail(&format!("no connection: {error}")));
            connected.set_nonblocking(true).expect("non-blocking");
            connected.set_nodelay(true).expect("no delay");
            let mut stream = TcpStream::from_std(connected);
            let registry = poll.registry();
            registry.register(&mut stream, Token(index), Interest::READABLE).expect("registered");
            Connection { stream, received: Vec::with_capacity(1024), due: None }
        })
        .collect();

    let request = format!("GET / HTTP/1.1\r\nHost: {address}\r\n\r\n");
    let mut latencies = histogram();
    let mut second = histogram();
    let mut seconds_past: Vec<String> = Vec::new();
    let mut events = Events::with_capacity(1024);
    let mut buffer = vec![0; HEAD_BYTES_MAX];
    let mut idle: VecDeque<usize> = (0..count).collect();
    let total = (rate * seconds) as u64;
    let mut sent = 0u64;
    let mut answered = 0u64;
    let started = Instant::now();
    let deadline = started + Duration::from_secs_f64(seconds) + TAIL;
    while answered < total {
        let now = Instant::now();
        if now > deadline {
            fail(&format!("{} of {total} requests were not answered in time", total - answered));
        }
        while sent < total {
            let due = started + Duration::from_secs_f64(sent as f64 / rate);
            if due > now {
                break;
            }
            let Some(index) = idle.pop_front() else { break };
            let connection = &mut connections[index];
            match connection.stream.write(request.as_bytes()) {
                Ok(written) if written == request.len() => {}
                _ => fail("a request did not fit into an idle connection"),
            }
            connection.due = Some(due);
            sent += 1;
        }
        poll.poll(&mut events, Some(Duration::ZERO)).expect("epoll");
        for event in &events {
            let Token(index) = event.token();
            let connection = &mut connections[index];
            if !receive(connection, &mut buffer) {
                continue;
            }
            let Some(due) = connection.due.take() else {
                fail("an answer nobody asked for");
            };
            while started.elapsed().as_secs() as usize > seconds_past.len() {
                seconds_past.push(format!("{{{}}}", figures(&second, 1.0)));
                second.reset();
            }
            let latency = due.elapsed().as_micros().max(1) as u64;
            latencies.saturating_record(latency);
            second.saturating_record(latency);
            idle.push_back(index);
            answered += 1;
        }
    }
    let elapsed = started.elapsed().as_secs_f64();
    let rest = elapsed - seconds_past.len() as f64;
    if rest > 0.5 {
        seconds_past.push(format!("{{{}}}", figures(&second, rest)));
    }
    println!(r#"{{{},"seconds":[{}]}}"#, figures(&latencies, elapsed), seconds_past.join(","));
}
