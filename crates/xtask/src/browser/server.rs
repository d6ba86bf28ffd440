//! A server for one page: hands out its files, and takes what it says.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        mpsc::{self, Receiver, Sender},
    },
    thread,
};

/// A file of the page.
#[derive(Clone, Debug)]
pub(crate) struct File {
    pub(crate) path: String,
    pub(crate) kind: &'static str,
    pub(crate) bytes: Vec<u8>,
}

/// What the page says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// A check has begun: its name.
    Begun(String),
    /// The check that has begun holds.
    Passed,
    /// It does not hold, and why.
    Failed(String),
    /// A line of what a program prints elsewhere.
    Printed(String),
    /// Something broke, and nothing goes on.
    Broken(String),
    /// All checks have ended.
    Ended,
}

impl Said {
    fn new(path: &str, text: String) -> Option<Self> {
        Some(match path {
            "/begun" => Self::Begun(text),
            "/passed" => Self::Passed,
            "/failed" => Self::Failed(text),
            "/printed" => Self::Printed(text),
            "/broken" => Self::Broken(text),
            "/ended" => Self::Ended,
            _ => return None,
        })
    }
}

/// Serves the page on some free port of this machine, until the process ends.
pub(crate) fn serve(files: Vec<File>) -> io::Result<(SocketAddr, Receiver<Said>)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let (sender, said) = mpsc::channel();
    let files = Arc::new(files);
    thread::spawn(move || {
        // A browser opens connections that it may never use: each waits in a thread of its own.
        for stream in listener.incoming().flatten() {
            let (files, sender) = (Arc::clone(&files), sender.clone());
            thread::spawn(move || answer(&stream, &files, &sender));
        }
    });
    Ok((address, said))
}

/// Answers one request.
fn answer(mut stream: &TcpStream, files: &[File], said: &Sender<Said>) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let text = body(&mut reader)?;
    let file = files.iter().find(|file| method == "GET" && file.path == path);
    let news = if method == "POST" { Said::new(path, text) } else { None };
    let (status, kind, bytes) = match (file, &news) {
        (Some(file), _) => ("200 OK", file.kind, file.bytes.as_slice()),
        (None, Some(_)) => ("204 No Content", "text/plain", &[][..]),
        (None, None) => ("404 Not Found", "text/plain", &[][..]),
    };
    if let Some(news) = news {
        // Before the answer, since the page goes on with that. Nobody listens any more when all is over.
        let _ = said.send(news);
    }
    let length = bytes.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n"
    )?;
    stream.write_all(bytes)
}

/// Skips the headers, and reads what follows.
fn body(reader: &mut impl BufRead) -> io::Result<String> {
    let mut length = 0;
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header)? == 0 || header.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = header.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
    }
    let mut text = Vec::new();
    reader.take(length).read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the server answers to a request.
    fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).expect("the server listens");
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers in text");
        answer
    }

    #[test]
    fn files_are_handed_out_and_what_is_said_is_taken() {
        let page = File { path: "/".into(), kind: "text/html", bytes: b"<p>".to_vec() };
        let (address, said) = serve(vec![page]).expect("a port is free");
        // A connection that is never used is in nobody's way.
        let _idle = TcpStream::connect(address).expect("the server listens");
        let answer = ask(address, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n"), "{answer}");
        assert!(answer.ends_with("\r\n\r\n<p>"), "{answer}");
        for path in ["/x", "/passed"] {
            let answer = ask(address, &format!("GET {path} HTTP/1.1\r\n\r\n"));
            assert!(answer.starts_with("HTTP/1.1 404 Not Found\r\n"), "{answer}");
        }
        let post = |path, text: &str| {
            let length = text.len();
            ask(address, &format!("POST {path} HTTP/1.1\r\ncontent-length: {length}\r\n\r\n{text}"))
        };
        assert!(post("/begun", "one").starts_with("HTTP/1.1 204 No Content\r\n"));
        post("/failed", "it\ndoes not ü");
        post("/passed", "");
        post("/other", "");
        post("/broken", "a trap");
        post("/ended", "");
        let expected = [
            Said::Begun("one".into()),
            Said::Failed("it\ndoes not ü".into()),
            Said::Passed,
            Said::Broken("a trap".into()),
            Said::Ended,
        ];
        assert_eq!(said.iter().take(5).collect::<Vec<_>>(), expected);
    }
}
