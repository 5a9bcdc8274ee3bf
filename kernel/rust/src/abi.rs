//! The mirror of `kerntun.h`: the same structures, written by hand, and what turns them into the engine's types.

use core::mem::MaybeUninit;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use kerntun_engine::device::Followup as EngineFollowup;
use kerntun_engine::egress::{SealJob, SealedJob};
use kerntun_engine::ingress::OpenJob;
use kerntun_engine::packet::Incoming;
use kerntun_engine::peer::{Endpoint as EngineEndpoint, PeerRef, Source};
use kerntun_engine::reason::Reason;
use kerntun_engine::session::SessionBlock;
use kerntun_engine::time::Instant;
use kerntun_engine::timers::Timer;

const ABI_VERSION: u32 = 1;
pub(crate) const NO_PEER: u64 = u64::MAX;
pub(crate) const NEVER: u64 = u64::MAX;
pub(crate) const FIRST: u32 = u32::MAX;
pub(crate) const BLAKE2S_STATE_LEN: usize = 160;
pub(crate) const REASONS: usize = 33;
pub(crate) const TIMERS: usize = 6;

macro_rules! structures {
    ($($(#[$meta:meta])* $name:ident { $($field:ident: $type:ty,)* })*) => {$(
        $(#[$meta])*
        #[repr(C)]
        #[derive(Clone, Copy)]
        #[allow(missing_docs, reason = "kerntun.h says it")]
        pub struct $name { $(pub $field: $type,)* }
    )*};
}

structures! {
    /// `struct kt_followup`.
    Followup { flush: u64, rearm: u8, reserved: [u8; 7], }
    /// `struct kt_endpoint`.
    Endpoint {
        remote: [u8; 16],
        source: [u8; 16],
        scope: u32,
        interface: u32,
        port: u16,
        family: u8,
        has_source: u8,
    }
    /// `struct kt_staged`.
    Staged { next: *mut Staged, datagrams: u32, bytes: u32, }
    /// `struct kt_departure`.
    Departure { endpoint: Endpoint, reserved: u32, peer: u64, followup: Followup, }
    /// `struct kt_outgoing`.
    Outgoing { endpoint: Endpoint, len: u32, message: [u8; 148], tos: u8, reserved: [u8; 3], followup: Followup, }
    /// `struct kt_due`.
    Due { peer: u64, initiate: u8, keepalive: u8, reserved: [u8; 6], }
    /// `struct kt_verdict`.
    Verdict { len: u32, kind: u8, rewritten: u8, reason: u8, reserved: u8, head: [u8; 40], }
    /// `struct kt_allowed_ip`.
    AllowedIp { address: [u8; 16], family: u8, prefix_len: u8, remove: u8, reserved: u8, }
    /// `struct kt_peer_change`.
    PeerChange {
        allowed_ips: *const AllowedIp,
        allowed_ips_count: u32,
        flags: u32,
        public_key: [u8; 32],
        preshared_key: [u8; 32],
        endpoint: Endpoint,
        persistent_keepalive: u16,
        reserved: u16,
    }
    /// `struct kt_change`.
    Change { peers: *const PeerChange, peers_count: u32, flags: u32, private_key: [u8; 32], }
    /// `struct kt_peer_info`.
    PeerInfo {
        public_key: [u8; 32],
        preshared_key: [u8; 32],
        endpoint: Endpoint,
        persistent_keepalive: u16,
        handshake_retries: u8,
        handshake_pending: u8,
        last_handshake: u64,
        rx_bytes: u64,
        tx_bytes: u64,
        session_since: u64,
        session_packets: u64,
        staged_bytes: u64,
        staged_datagrams: u32,
        drops: [u32; REASONS],
        deadlines: [u64; TIMERS],
    }
}

/// Room in the glue's memory for one of the engine's values, at least as large and as aligned.
macro_rules! rooms {
    ($($(#[$meta:meta])* $name:ident: [$unit:ty; $count:literal] for $($value:ty),+;)*) => {$(
        $(#[$meta])*
        #[repr(C)]
        pub struct $name([MaybeUninit<$unit>; $count]);

        $(const _: () = {
            assert!(size_of::<$value>() <= size_of::<$name>());
            assert!(align_of::<$value>() <= align_of::<$name>());
        };)+
    )*};
}

rooms! {
    /// `struct kt_seal_job`: a [`SealJob`] until it is sealed, a [`SealedJob`] after that.
    SealRoom: [u64; 4] for SealJob, SealedJob;
    /// `struct kt_open_job`.
    OpenRoom: [u32; 4] for OpenJob;
    /// `struct kt_incoming`.
    IncomingRoom: [u64; 10] for Incoming;
    /// `struct kt_session_block`.
    BlockRoom: [u64; 4] for Option<SessionBlock>;
}

// The glue makes arrays of the one, and compares the other byte by byte.
const _: () = assert!(size_of::<Incoming>() == size_of::<IncomingRoom>());
const _: () = assert!(size_of::<OpenJob>() == size_of::<OpenRoom>());

/// `KT_ABI_NUMBERS`.
const NUMBERS: [usize; 27] = [
    ABI_VERSION as usize,
    REASONS,
    TIMERS,
    size_of::<Followup>(),
    size_of::<Endpoint>(),
    size_of::<SealRoom>(),
    size_of::<OpenRoom>(),
    size_of::<IncomingRoom>(),
    size_of::<Staged>(),
    size_of::<BlockRoom>(),
    size_of::<Departure>(),
    size_of::<Outgoing>(),
    size_of::<Due>(),
    size_of::<Verdict>(),
    size_of::<AllowedIp>(),
    size_of::<PeerChange>(),
    size_of::<Change>(),
    size_of::<PeerInfo>(),
    Reason::Malformed.index(),
    Reason::HandshakeQueueFull.index(),
    Reason::StaleIn.index(),
    Reason::DeliveryFailed.index(),
    Reason::NotIp.index(),
    Reason::NoRoute.index(),
    Reason::NoEndpoint.index(),
    Reason::StagedPurged.index(),
    Reason::SendFailed.index(),
];

const _: () = {
    assert!(Reason::COUNT == REASONS && Timer::ALL.len() == TIMERS);
    assert!(size_of::<Followup>() == 16 && size_of::<Endpoint>() == 44 && size_of::<Staged>() == 16);
    assert!(size_of::<Departure>() == 72 && size_of::<Outgoing>() == 216 && size_of::<Due>() == 16);
    assert!(size_of::<Verdict>() == 48 && size_of::<AllowedIp>() == 20 && size_of::<PeerChange>() == 128);
    assert!(size_of::<Change>() == 48 && size_of::<PeerInfo>() == 344);
};

/// # Safety
/// `numbers` points to `count` of them.
#[unsafe(no_mangle)]
unsafe extern "C" fn kt_abi_matches(numbers: *const u32, count: u32) -> bool {
    // SAFETY: the caller says so.
    let numbers = unsafe { slice(numbers, count) };
    numbers.len() == NUMBERS.len() && numbers.iter().zip(NUMBERS).all(|(theirs, ours)| *theirs as usize == ours)
}

impl Followup {
    /// Nothing to do.
    pub const NONE: Self = Self { flush: NO_PEER, rearm: 0, reserved: [0; 7] };
}

impl From<EngineFollowup> for Followup {
    fn from(followup: EngineFollowup) -> Self {
        let flush = followup.flush.map_or(NO_PEER, PeerRef::to_bits);
        Self { flush, rearm: followup.rearm.into(), reserved: [0; 7] }
    }
}

impl Endpoint {
    const UNKNOWN: Self =
        Self { remote: [0; 16], source: [0; 16], scope: 0, interface: 0, port: 0, family: 0, has_source: 0 };

    /// The engine's endpoint; `None` if the family is none.
    pub(crate) fn to_engine(self) -> Option<EngineEndpoint> {
        let address = address(self.family, self.remote)?;
        let remote = match address {
            IpAddr::V4(address) => SocketAddr::V4(SocketAddrV4::new(address, self.port)),
            IpAddr::V6(address) => SocketAddr::V6(SocketAddrV6::new(address, self.port, 0, self.scope)),
        };
        let source = (self.has_source != 0).then(|| self.local()).flatten();
        Some(EngineEndpoint { remote, source })
    }

    fn local(&self) -> Option<Source> {
        Some(Source { address: address(self.family, self.source)?, interface: self.interface })
    }
}

impl From<EngineEndpoint> for Endpoint {
    fn from(endpoint: EngineEndpoint) -> Self {
        let mut out = Self::UNKNOWN;
        (out.family, out.remote) = bytes(endpoint.remote.ip());
        out.port = endpoint.remote.port();
        if let SocketAddr::V6(remote) = endpoint.remote {
            out.scope = remote.scope_id();
        }
        if let Some(source) = endpoint.source {
            (_, out.source) = bytes(source.address);
            out.interface = source.interface;
            out.has_source = 1;
        }
        out
    }
}

impl From<Option<EngineEndpoint>> for Endpoint {
    fn from(endpoint: Option<EngineEndpoint>) -> Self {
        endpoint.map_or(Self::UNKNOWN, Self::from)
    }
}

/// The address of that family in `bytes`.
pub(crate) fn address(family: u8, bytes: [u8; 16]) -> Option<IpAddr> {
    match family {
        4 => {
            let [a, b, c, d, ..] = bytes;
            Some(Ipv4Addr::new(a, b, c, d).into())
        }
        6 => Some(Ipv6Addr::from(bytes).into()),
        _ => None,
    }
}

/// The reverse of [`address`].
pub(crate) fn bytes(address: IpAddr) -> (u8, [u8; 16]) {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            (4, [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
        }
        IpAddr::V6(address) => (6, address.octets()),
    }
}

pub(crate) fn peer(bits: u64) -> Option<PeerRef> {
    (bits != NO_PEER).then(|| PeerRef::from_bits(bits))
}

pub(crate) const fn instant(nanos: u64) -> Instant {
    Instant::from_nanos(nanos)
}

/// `count` values at `first`, which may be null if there are none.
///
/// # Safety
/// They are there, and stay as they are.
pub(crate) unsafe fn slice<'a, T>(first: *const T, count: u32) -> &'a [T] {
    if first.is_null() || count == 0 {
        return &[];
    }
    // SAFETY: the caller says so.
    unsafe { core::slice::from_raw_parts(first, count as usize) }
}

/// As [`slice`], to be written.
///
/// # Safety
/// They are there, and nobody else looks.
pub(crate) unsafe fn slice_mut<'a, T>(first: *mut T, count: u32) -> &'a mut [T] {
    if first.is_null() || count == 0 {
        return &mut [];
    }
    // SAFETY: the caller says so.
    unsafe { core::slice::from_raw_parts_mut(first, count as usize) }
}
