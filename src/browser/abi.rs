//! The module's functions, as JavaScript calls them.
//!
//! Bytes go in by the buffer that `input` makes, and come out by `output` and `output_length`; the input is freed by
//! the call that takes it, the output by the next one. A call gives −1 where it fails: the output then tells why.
//! A panic calls `panicked`, which JavaScript gives the module and which throws: the module is not called again.
#![allow(unsafe_code)]

use super::desk::{Desk, Given};
use crate::Result;
use std::cell::RefCell;
use std::error::Error as _;

#[derive(Default)]
struct Room {
    desk: Desk,
    input: Vec<u8>,
    output: Vec<u8>,
}

thread_local! {
    static ROOM: RefCell<Room> = RefCell::default();
}

#[link(wasm_import_module = "siamese")]
unsafe extern "C" {
    fn panicked(words: *const u8, length: usize);
}

/// Must be called first, once; the output is JSON about the module.
#[unsafe(no_mangle)]
extern "C" fn begin() -> i32 {
    std::panic::set_hook(Box::new(|panic| {
        let words = panic.to_string();
        // SAFETY: the words live until it throws; nothing of them is kept.
        unsafe { panicked(words.as_ptr(), words.len()) };
    }));
    answered(|desk, _| desk.about())
}

/// A buffer of so many bytes for the next call.
#[unsafe(no_mangle)]
extern "C" fn input(length: usize) -> *mut u8 {
    ROOM.with_borrow_mut(|room| {
        room.input = vec![0; length];
        room.input.as_mut_ptr()
    })
}

/// What the last call gave.
#[unsafe(no_mangle)]
extern "C" fn output() -> *const u8 {
    ROOM.with_borrow(|room| room.output.as_ptr())
}

/// Its bytes.
#[unsafe(no_mangle)]
extern "C" fn output_length() -> usize {
    ROOM.with_borrow(|room| room.output.len())
}

#[unsafe(no_mangle)]
extern "C" fn open_tower(kernels: u32) -> i32 {
    answered(|desk, file| desk.open_tower(file, kernels))
}

#[unsafe(no_mangle)]
extern "C" fn open_gallery(tower: u32) -> i32 {
    answered(|desk, file| desk.open_gallery(tower, file))
}

#[unsafe(no_mangle)]
extern "C" fn see(tower: u32, width: u32, height: u32) -> i32 {
    answered(|desk, picture| desk.see(tower, width, height, picture))
}

#[unsafe(no_mangle)]
extern "C" fn embed(tower: u32) -> i32 {
    answered(|desk, seen| desk.embed(tower, seen))
}

#[unsafe(no_mangle)]
extern "C" fn answer(gallery: u32, top: u32) -> i32 {
    answered(|desk, embedding| desk.answer(gallery, top, embedding))
}

#[unsafe(no_mangle)]
extern "C" fn close_tower(tower: u32) {
    ROOM.with_borrow_mut(|room| room.desk.close_tower(tower));
}

#[unsafe(no_mangle)]
extern "C" fn close_gallery(gallery: u32) {
    ROOM.with_borrow_mut(|room| room.desk.close_gallery(gallery));
}

/// Does the work with the input, and keeps what it gives, or why it fails.
fn answered(work: impl FnOnce(&mut Desk, &[u8]) -> Result<Given>) -> i32 {
    ROOM.with_borrow_mut(|room| {
        let input = std::mem::take(&mut room.input);
        match work(&mut room.desk, &input) {
            Ok(Given { number, bytes }) => {
                room.output = bytes;
                number as i32
            }
            Err(error) => {
                let mut words = error.to_string();
                let mut source = error.source();
                while let Some(cause) = source {
                    words += &format!(": {cause}");
                    source = cause.source();
                }
                room.output = words.into_bytes();
                -1
            }
        }
    })
}
