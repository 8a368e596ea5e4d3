//! Bytes behind a response that has no body

/// Follows both directions of an HTTP/1.1 connection and finds bytes behind the head of a response that ends with its
/// head: the answer to a `HEAD`, a `204`, a `304` (RFC 9112 section 6.3). hyper drops them and closes the connection, but
/// tells nobody.
///
/// Looks only at how a request and a status line begin, unless the response is such a one. It may be wrong about a
/// response that comes while the request's body is still being sent, if the body looks like a request; whoever asks must
/// know from hyper that the response has no body.
#[derive(Debug, Default)]
pub(super) struct Excess {
    /// Only a head was asked for.
    head_only: bool,
    reading: Reading,
}

#[derive(Debug, Default)]
enum Reading {
    /// Nothing that is of interest.
    #[default]
    Passing,
    /// So much of the status line.
    Status { start: [u8; STATUS], length: usize },
    /// The rest of a head.
    Head { line_is_blank: bool, interim: bool },
    /// Nothing more may come.
    Over,
}

/// `HTTP/1.1 204`
const STATUS: usize = 12;
const LONGEST_METHOD: usize = 32;

impl Excess {
    /// Notes a piece of what is sent, and tells whether a request begins with it.
    pub(super) fn sent(&mut self, bytes: &[u8]) -> bool {
        let mut words = bytes
            .get(..bytes.len().min(LONGEST_METHOD))
            .unwrap_or_default()
            .split(|byte| *byte == b' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next());
        let begins = target.is_some_and(|target| target.starts_with(b"/"))
            && method.iter().all(u8::is_ascii_alphabetic);
        if begins {
            self.head_only = method == b"HEAD";
            self.reading = Reading::status();
        }
        begins
    }

    /// Whether the connection has carried the answer to a `HEAD`. A server that sends the body with it may well send it
    /// some moments later, when nothing tells it from the answer to the next request any more; so there must be none.
    pub(super) fn is_used_up(&self) -> bool {
        self.head_only && matches!(self.reading, Reading::Over)
    }

    /// Whether there are bytes among these that belong to no response.
    pub(super) fn received(&mut self, mut bytes: &[u8]) -> bool {
        while let Some((byte, rest)) = bytes.split_first() {
            match &mut self.reading {
                Reading::Passing => return false,
                Reading::Over => return true,
                Reading::Status { start, length } => {
                    let leading = *length == 0 && matches!(byte, b'\r' | b'\n');
                    if let Some(place) = start.get_mut(*length).filter(|_| !leading) {
                        *place = *byte;
                        *length += 1;
                    }
                    if *length == STATUS {
                        self.reading = Reading::after(*start, self.head_only);
                    }
                }
                Reading::Head {
                    line_is_blank,
                    interim,
                } => match (byte, *line_is_blank) {
                    (b'\n', true) if *interim => self.reading = Reading::status(),
                    (b'\n', true) => self.reading = Reading::Over,
                    (b'\n', false) => *line_is_blank = true,
                    (b'\r', _) => {}
                    _ => *line_is_blank = false,
                },
            }
            bytes = rest;
        }
        false
    }
}

impl Reading {
    fn status() -> Self {
        Self::Status {
            start: [0; STATUS],
            length: 0,
        }
    }

    fn after(start: [u8; STATUS], head_only: bool) -> Self {
        let [.., a, b, c] = start;
        let (interim, bare) = match [a, b, c] {
            // What comes behind 101 is no longer HTTP; it is refused as it is.
            [b'1', b'0', b'1'] => (false, false),
            [b'1', ..] => (true, false),
            code => (false, head_only || matches!(&code, b"204" | b"304")),
        };
        match interim || bare {
            true => Self::Head {
                line_is_blank: false,
                interim,
            },
            false => Self::Passing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether there is an excess, however the response is cut in two.
    fn found(request: &str, response: &str) -> bool {
        let outcome = |cut: usize| {
            let mut excess = Excess::default();
            excess.sent(request.as_bytes());
            let (start, end) = response.as_bytes().split_at(cut);
            excess.received(start) | excess.received(end)
        };
        let whole = outcome(0);
        for cut in 0..response.len() {
            assert_eq!(outcome(cut), whole, "{response:?} cut at {cut}");
        }
        whole
    }

    #[test]
    fn bodies_where_there_is_none() {
        let get = "GET /x HTTP/1.1\r\n\r\n";
        let head = "HEAD /x HTTP/1.1\r\n\r\n";
        for (request, status, bare) in [
            (get, "200 OK", false),
            (get, "404 Not Found", false),
            (get, "101 Switching Protocols", false),
            (get, "204 No Content", true),
            (get, "204", true),
            (get, "304 Not Modified", true),
            (head, "200 OK", true),
            (head, "500 Oh", true),
            ("DELETE /x HTTP/1.1\r\n\r\n", "204 No Content", true),
            // Nothing that was asked for.
            ("", "204 No Content", false),
            ("5\r\nHEAD /x HTTP/1.1\r\n", "200 OK", false),
        ] {
            for end in ["\r\n\r\n", "\n\n", "\r\nA: b\r\n\r\n", "\nA: b\nC: d\n\r\n"] {
                for before in [
                    "",
                    "\r\n",
                    "HTTP/1.1 100 Continue\r\n\r\n",
                    "HTTP/1.1 103 Hints\nLink: </a>\n\nHTTP/1.1 102\r\n\r\n",
                ] {
                    let response = format!("{before}HTTP/1.1 {status}{end}");
                    assert!(!found(request, &response), "{response:?}");
                    for more in ["x", "\r\n", "HTTP/1.1 200 OK\r\n\r\n"] {
                        let response = format!("{response}{more}");
                        assert_eq!(found(request, &response), bare, "{request:?} {response:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_next_request_begins_anew() {
        let mut excess = Excess::default();
        for _ in 0..3 {
            excess.sent(b"HEAD /a HTTP/1.1\r\n\r\n");
            assert!(!excess.received(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"));
            excess.sent(b"GET /a HTTP/1.1\r\n\r\n");
            assert!(!excess.received(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n012345678"));
            excess.sent(b"PUT /a HTTP/1.1\r\n\r\n");
            excess.sent(b"a body");
            assert!(!excess.received(b"HTTP/1.1 204 No Content\r\n\r\n"));
        }
        assert!(excess.received(b"x"));
        assert!(!excess.is_used_up());
    }

    #[test]
    fn a_head_is_the_last_answer() {
        let mut excess = Excess::default();
        excess.sent(b"HEAD /a HTTP/1.1\r\n\r\n");
        assert!(!excess.received(b"HTTP/1.1 103 Hints\r\n\r\nHTTP/1.1 200 OK\r\n"));
        assert!(!excess.is_used_up());
        assert!(!excess.received(b"\r\n"));
        assert!(excess.is_used_up());
    }

    #[test]
    fn http2_is_none_of_its_business() {
        let mut excess = Excess::default();
        excess.sent(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        assert!(!excess.received(b"HTTP/1.1 204 No Content\r\n\r\nx"));
    }
}
