//! The ABI of wit-bindgen 0.2, written out: no bindings are generated for it any more. Values are laid out as the
//! canonical ABI lays them out today; what is passed to the host is only lent, what comes from it is owned.

#![allow(dead_code, reason = "no program uses all of it")]

use std::alloc::{self, Layout};

#[unsafe(export_name = "canonical_abi_realloc")]
unsafe extern "C" fn realloc(old: *mut u8, old_len: usize, align: usize, len: usize) -> *mut u8 {
    if len == 0 {
        return align as *mut u8;
    }
    let layout =
        |len| Layout::from_size_align(len, align).expect("the host asks for what there can be");
    let place = if old_len == 0 {
        unsafe { alloc::alloc(layout(len)) }
    } else {
        unsafe { alloc::realloc(old, layout(old_len), len) }
    };
    if place.is_null() {
        alloc::handle_alloc_error(layout(len));
    }
    place
}

#[unsafe(export_name = "canonical_abi_free")]
unsafe extern "C" fn free(place: *mut u8, len: usize, align: usize) {
    if let (1.., Ok(layout)) = (len, Layout::from_size_align(len, align)) {
        unsafe { alloc::dealloc(place, layout) };
    }
}

/// Where a result is that does not fit into one number.
#[repr(align(8))]
pub struct Area(pub [u8; 64]);

impl Area {
    pub const fn new() -> Self {
        Self([0; 64])
    }

    /// Its address, for a call whose result it takes.
    pub fn place(&mut self) -> *mut u8 {
        self.0.as_mut_ptr()
    }

    pub fn set_u16(&mut self, at: usize, value: u16) {
        self.0[at..at + 2].copy_from_slice(&value.to_le_bytes());
    }

    pub fn set_list<T>(&mut self, at: usize, list: Vec<T>) {
        let list = list.leak();
        self.0[at..at + 4].copy_from_slice(&(list.as_ptr() as u32).to_le_bytes());
        self.0[at + 4..at + 8].copy_from_slice(&(list.len() as u32).to_le_bytes());
    }

    /// Reads it from there.
    pub fn at(&self, at: usize) -> Value {
        Value(self.0[at..].as_ptr())
    }
}

/// A value in memory.
#[derive(Clone, Copy)]
pub struct Value(*const u8);

impl Value {
    pub fn of(place: *const u8) -> Self {
        Self(place)
    }

    pub fn at(self, offset: usize) -> Self {
        Self(unsafe { self.0.add(offset) })
    }

    pub fn u8(self) -> u8 {
        unsafe { self.0.read() }
    }

    pub fn u16(self) -> u16 {
        unsafe { self.0.cast::<u16>().read() }
    }

    pub fn u32(self) -> u32 {
        unsafe { self.0.cast::<u32>().read() }
    }

    pub fn i64(self) -> i64 {
        unsafe { self.0.cast::<i64>().read() }
    }

    pub fn f64(self) -> f64 {
        unsafe { self.0.cast::<f64>().read() }
    }

    /// The bytes of a list, which are now the caller's.
    pub fn bytes(self) -> Vec<u8> {
        unsafe { owned(self.u32(), self.at(4).u32()) }
    }

    pub fn string(self) -> String {
        String::from_utf8(self.bytes()).expect("strings are UTF-8")
    }

    /// The elements of a list, of `size` bytes each.
    pub fn list(self, size: usize) -> impl Iterator<Item = Value> {
        let (place, len) = (self.u32() as *const u8, self.at(4).u32() as usize);
        (0..len).map(move |n| Value(unsafe { place.add(n * size) }))
    }
}

/// Bytes that were passed as an address and a length.
pub unsafe fn owned(place: u32, len: u32) -> Vec<u8> {
    if len == 0 {
        return Vec::new();
    }
    unsafe { Vec::from_raw_parts(place as *mut u8, len as usize, len as usize) }
}

/// A text that is lent.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Text(pub *const u8, pub usize);

impl Text {
    pub fn of(text: &(impl AsRef<[u8]> + ?Sized)) -> Self {
        let bytes = text.as_ref();
        Self(bytes.as_ptr(), bytes.len())
    }
}

/// Texts that are lent, as a list.
pub fn texts(texts: &[&str]) -> Vec<Text> {
    texts.iter().map(|text| Text::of(*text)).collect()
}

/// A value of one of several types, the longest of which has eight bytes: the type's number, then the value.
pub type Case = [u64; 2];

pub fn number(case: u8, value: i64) -> Case {
    [case.into(), value.cast_unsigned()]
}

pub fn text(case: u8, text: &(impl AsRef<[u8]> + ?Sized)) -> Case {
    let Text(place, len) = Text::of(text);
    [case.into(), (place as u64) | ((len as u64) << 32)]
}
