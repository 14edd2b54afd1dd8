//! A server of pages for whoever scrapes: what each path answers, and what was asked.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What a path answers.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    pub(crate) status: u16,
    /// Whole lines, each with its line end.
    pub(crate) headers: String,
    pub(crate) body: Vec<u8>,
}

impl Page {
    pub(crate) fn text(body: &str) -> Self {
        let headers = "Content-Type: text/plain; version=0.0.4\r\n".to_owned();
        Self { status: 200, headers, body: body.as_bytes().to_vec() }
    }
}

#[derive(Debug, Default)]
struct State {
    pages: HashMap<String, Page>,
    heads: Vec<String>,
}

/// The server; it ends with the process.
#[derive(Clone, Debug)]
pub(crate) struct Pages {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Pages {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let pages = Self { address: listener.local_addr().unwrap(), state: Arc::default() };
        let state = Arc::clone(&pages.state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&state);
                std::thread::spawn(move || answer_all(&stream, &state));
            }
        });
        pages
    }

    /// From now on.
    pub(crate) fn set(&self, path: &str, page: Page) {
        self.state.lock().unwrap().pages.insert(path.to_owned(), page);
    }

    /// Heads of requests so far, in lower case.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.state.lock().unwrap().heads.clone()
    }
}

fn answer_all(stream: &TcpStream, state: &Mutex<State>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.by_ref().take(64 << 10).read_line(&mut head).ok()? == 0 {
                return None;
            }
        }
        let path = head.split(' ').nth(1)?.split('?').next()?.to_owned();
        let page = {
            let mut state = state.lock().unwrap();
            state.heads.push(head.to_lowercase());
            state.pages.get(&path).cloned()
        };
        let missing = Page { status: 404, headers: String::new(), body: b"no such page".to_vec() };
        let Page { status, headers, body } = page.unwrap_or(missing);
        let head = format!("HTTP/1.1 {status} x\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
        let mut writer = stream;
        writer.write_all(&[head.as_bytes(), &body].concat()).ok()?;
    }
}
