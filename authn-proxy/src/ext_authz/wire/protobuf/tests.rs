use proptest::prelude::*;
use prost::encoding;

use super::*;

proptest! {
    #[test]
    fn numbers_and_lengths_are_written_as_prost_writes_them(number in any::<u64>(), length in 0..70_000_usize, field in 1_u8..16) {
        let text = "x".repeat(length);
        let mut ours = Writer(Vec::new());
        ours.number(field, number);
        ours.text(field, text.as_bytes());
        ours.shown(field, &text);
        ours.message(field, |inside| inside.number(1, number));

        let mut theirs = Vec::new();
        let mut inside = Vec::new();
        if number > 0 {
            encoding::uint64::encode(field.into(), &number, &mut theirs);
            encoding::uint64::encode(1, &number, &mut inside);
        }
        encoding::string::encode(field.into(), &text, &mut theirs);
        encoding::string::encode(field.into(), &text, &mut theirs);
        encoding::bytes::encode(field.into(), &inside, &mut theirs);
        prop_assert_eq!(ours.0, theirs);
    }

    #[test]
    fn numbers_are_read_as_prost_reads_them(bytes in prop::collection::vec(prop_oneof![any::<u8>(), 0x80..=0xff_u8], 0..12)) {
        let mut fields = Fields::of(&bytes);
        let ours = fields.varint();
        let mut rest = bytes.as_slice();
        let theirs = encoding::decode_varint(&mut rest);
        prop_assert_eq!(ours.ok(), theirs.clone().ok());
        if theirs.is_ok() {
            prop_assert_eq!(fields.0, rest);
        }
    }
}

#[test]
fn a_call_says_how_long_its_message_is() {
    let mut call = Writer::framed(0);
    call.text(1, &[b'x'; 300]);
    let call = call.into_frame();
    assert_eq!(call.first_chunk::<5>().unwrap(), &[0, 0, 0, 1, 0x2f]);
    assert_eq!(call.len(), 5 + 0x12f);
}

#[test]
fn what_is_no_field_is_refused() {
    for bytes in [
        &[0x00, 0x00][..], // field 0
        &[0x0b],           // a group
        &[0x0a],           // text without a length
        &[0x0a, 2, b'x'],  // text that is cut
        &[0x09, 1, 2],     // a number that is cut
        &[0x80; 11],       // a key without an end
    ] {
        let read = Fields::of(bytes).next();
        assert_eq!(read, Err(Malformed), "{bytes:?}");
    }
    assert_eq!(Fields::of(&[]).next(), Ok(None));
}
