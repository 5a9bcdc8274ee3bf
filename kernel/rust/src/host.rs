//! The functions of the glue, as `kerntun.h` declares them.

use crate::abi::Staged;
use core::ffi::c_void;

unsafe extern "C" {
    pub(crate) fn kt_host_alloc(size: usize, align: usize) -> *mut c_void;
    pub(crate) fn kt_host_free(memory: *mut c_void, size: usize);
    pub(crate) fn kt_host_lock_new(rank: u8, len: usize) -> *mut c_void;
    pub(crate) fn kt_host_lock_free(lock: *mut c_void, rank: u8, len: usize);
    pub(crate) fn kt_host_mutex_lock(lock: *mut c_void);
    pub(crate) fn kt_host_mutex_unlock(lock: *mut c_void);
    pub(crate) fn kt_host_spin_lock(lock: *mut c_void);
    pub(crate) fn kt_host_spin_unlock(lock: *mut c_void);
    pub(crate) fn kt_host_read_lock(lock: *mut c_void);
    pub(crate) fn kt_host_read_unlock(lock: *mut c_void);
    pub(crate) fn kt_host_write_lock(lock: *mut c_void);
    pub(crate) fn kt_host_write_unlock(lock: *mut c_void);
    pub(crate) fn kt_host_random(out: *mut u8, len: usize) -> bool;
    pub(crate) fn kt_host_free_staged(packet: *mut Staged);
    pub(crate) fn kt_host_seal(
        packet: *mut c_void,
        key: *const [u8; 32],
        counter: u64,
        header: *const [u8; 16],
    ) -> *mut c_void;
    pub(crate) fn kt_host_open(packet: *mut c_void, key: *const [u8; 32], counter: u64, head: *mut [u8; 40]) -> i32;
    pub(crate) fn kt_host_x25519(out: *mut [u8; 32], private: *const [u8; 32], public: *const [u8; 32]) -> bool;
    pub(crate) fn kt_host_public_key(out: *mut [u8; 32], private: *const [u8; 32]);
    pub(crate) fn kt_host_blake2s_init(state: *mut c_void, out_len: usize, key: *const u8, key_len: usize);
    pub(crate) fn kt_host_blake2s_update(state: *mut c_void, data: *const u8, len: usize);
    pub(crate) fn kt_host_blake2s_final(state: *mut c_void, out: *mut u8);
    pub(crate) fn kt_host_aead_seal(
        key: *const [u8; 32],
        counter: u64,
        additional: *const u8,
        additional_len: usize,
        text: *mut u8,
        len: usize,
        tag: *mut [u8; 16],
    );
    pub(crate) fn kt_host_aead_open(
        key: *const [u8; 32],
        counter: u64,
        additional: *const u8,
        additional_len: usize,
        text: *mut u8,
        len: usize,
        tag: *const [u8; 16],
    ) -> bool;
    pub(crate) fn kt_host_xaead_seal(
        key: *const [u8; 32],
        nonce: *const [u8; 24],
        additional: *const u8,
        additional_len: usize,
        text: *mut u8,
        len: usize,
        tag: *mut [u8; 16],
    );
    pub(crate) fn kt_host_xaead_open(
        key: *const [u8; 32],
        nonce: *const [u8; 24],
        additional: *const u8,
        additional_len: usize,
        text: *mut u8,
        len: usize,
        tag: *const [u8; 16],
    ) -> bool;
}
