use proptest::prelude::*;

use super::{Chunks, Progress};

#[track_caller]
fn read(body: impl AsRef<[u8]>) -> Progress {
    Chunks::new(100).advance(body.as_ref())
}

#[test]
fn well_formed() {
    for body in [
        "0\r\n\r\n",
        "5\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n00\r\n\r\n",
        "A;x=y\r\n0123456789\r\n0;z\r\n\r\n",
        "0000000000000001\r\na\r\n0\r\n\r\n",
        "1\r\n\n\r\n0\r\n\r\n",
        "0\r\nx: y\r\nz:\r\n\r\n",
    ] {
        assert_eq!(
            read(format!("{body}GET")),
            Progress::End(body.len()),
            "{body:?}"
        );
        for end in 0..body.len() {
            assert_eq!(
                read(&body.as_bytes()[..end]),
                Progress::More,
                "{body:?} up to {end}"
            );
        }
    }
}

#[test]
fn malformed() {
    for (body, good) in [
        ("\r\n", 0),
        ("0x5\r\n", 1),
        ("5_0\r\n", 1),
        ("-1\r\n", 0),
        ("+1\r\n", 0),
        (" 1\r\n", 0),
        ("1 \r\n", 1),
        ("00000000000000001\r\n", 16),
        ("1\n", 1),
        ("1\rx", 2),
        ("1;a\nb", 3),
        ("1;\0", 2),
        ("1\r\nab", 4),
        ("1\r\na\n", 4),
        ("1\r\na\r\r", 5),
        ("1\r\na\r\n\r\n", 6),
        ("0\r\n\n", 3),
        ("0\r\n x: y\r\n", 3),
        ("0\r\n: y\r\n", 3),
        ("0\r\nx\r\n", 4),
        ("0\r\nx : y\r\n", 4),
        ("0\r\nx: y\n", 7),
        ("0\r\nx: y\r\n z\r\n", 9),
        ("0\r\nx: \0\r\n", 6),
    ] {
        assert_eq!(read(body), Progress::Malformed(good), "{body:?}");
    }
}

#[test]
fn bounds() {
    let extension = |length: usize| format!("1;{}\r\na\r\n", "x".repeat(length));
    assert_eq!(read(extension(1024)), Progress::More);
    assert!(matches!(read(extension(1025)), Progress::Malformed(_)));
    assert_eq!(read(extension(1000).repeat(16)), Progress::More);
    assert!(matches!(
        read(extension(1000).repeat(17)),
        Progress::Malformed(_)
    ));
    let trailer = |length: usize| format!("0\r\nx: {}\r\n\r\n", "y".repeat(length));
    assert!(matches!(read(trailer(8000)), Progress::End(_)));
    assert!(matches!(read(trailer(9000)), Progress::Malformed(_)));
    let trailers = |count: usize| format!("0\r\n{}\r\n", "x: y\r\n".repeat(count));
    assert!(matches!(read(trailers(64)), Progress::End(_)));
    assert!(matches!(read(trailers(65)), Progress::Malformed(_)));
    assert!(matches!(
        Chunks::new(3).advance(trailers(4).as_bytes()),
        Progress::Malformed(_)
    ));
}

proptest! {
    #[test]
    fn pieces_read_like_the_whole(
        body in "([0-9a-f]{1,2}(;[a-z]{0,3})?\r\n[a-z]{0,18}(\r\n)?){0,3}(0\r\n(x: y\r\n)?\r\n)?[\r\n a-z]{0,3}",
        cut in 0..100_usize,
    ) {
        let whole = read(&body);
        let cut = cut.min(body.len());
        let mut chunks = Chunks::new(100);
        let in_pieces = match chunks.advance(&body.as_bytes()[..cut]) {
            Progress::More => match chunks.advance(&body.as_bytes()[cut..]) {
                Progress::More => Progress::More,
                Progress::End(at) => Progress::End(cut + at),
                Progress::Malformed(at) => Progress::Malformed(cut + at),
            },
            ended => ended,
        };
        prop_assert_eq!(whole, in_pieces);
    }
}
