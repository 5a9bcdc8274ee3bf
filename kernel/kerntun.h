/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * The border between the engine (Rust, one prebuilt object) and the glue (C).
 *
 * Numbers, byte arrays and pointers only: no kernel structure crosses it, so the same object fits every kernel. Both
 * sides are written by hand; rust/src/abi.rs is the mirror of this file, and kt_abi_matches() compares them when the
 * module is loaded.
 *
 * Times are nanoseconds of CLOCK_BOOTTIME. Addresses are in network byte order, ports and other numbers in the host's.
 *
 * Functions named kt_host_* are the glue's, called by the engine; all others are the engine's. Unless said otherwise
 * they may be called from any context but hard interrupts, by several CPUs at once, and never sleep.
 */
#ifndef KERNTUN_H
#define KERNTUN_H

#include <linux/build_bug.h>
#include <linux/types.h>

#define KT_ABI_VERSION 1

#define KT_KEY_LEN 32
#define KT_HEADER_LEN 16	/* of a data message */
#define KT_OVERHEAD 32		/* header and tag of a data message */
#define KT_HEAD_LEN 40		/* what the engine looks at of an inner packet */
#define KT_MAX_HANDSHAKE_LEN 148
#define KT_REASONS 33
#define KT_TIMERS 6
#define KT_NEVER U64_MAX	/* as a time: never */

/* One interface's engine. */
struct kt_device;

/*
 * A peer: its place (the low 32 bits, below the number of peers there ever were at once) and how often that place was
 * used. Once the peer is gone, every call finds nothing.
 */
typedef u64 kt_peer;
#define KT_NO_PEER ((kt_peer)U64_MAX)

/* Drop reasons that the glue has to know; kt_reason_name() has all of them. */
enum kt_reason {
	KT_REASON_MALFORMED = 0,
	KT_REASON_HANDSHAKE_QUEUE_FULL = 6,
	KT_REASON_STALE_IN = 19,
	KT_REASON_DELIVERY_FAILED = 24,
	KT_REASON_NOT_IP = 25,
	KT_REASON_NO_ROUTE = 26,
	KT_REASON_NO_ENDPOINT = 27,
	KT_REASON_STAGED_PURGED = 30,
	KT_REASON_SEND_FAILED = 32,
};

/* What a call leaves to be done once no lock is held: see kt_follow() in timers.h. */
struct kt_followup {
	kt_peer flush;	/* send the staged packets of this peer; KT_NO_PEER for none */
	u8 rearm;	/* the earliest deadline moved earlier */
	u8 reserved[7];
};

struct kt_endpoint {
	u8 remote[16];	/* an IPv4 address is in the first four bytes */
	u8 source[16];	/* local address that its packets came in on */
	u32 scope;	/* of a link-local remote address: index of the interface */
	u32 interface;	/* index of the interface on which source was seen */
	u16 port;
	u8 family;	/* 4, 6, or 0 for "not known" */
	u8 has_source;
};

/* Numbers for a run of packets. Moved, never copied: each can be sealed and committed once. */
struct kt_seal_job {
	u64 opaque[4];
};

/*
 * A run of received packets of one session. Moved, never copied. Those of one session are equal, byte by byte: runs that
 * arrived one after the other may be committed together, with the job of any of them; the others are gone as well then.
 */
struct kt_open_job {
	u32 opaque[4];
};

/* What the engine remembers of one received packet between two calls. */
struct kt_incoming {
	u64 opaque[10];
};

/* A packet that waits for a session; it lies inside the packet. */
struct kt_staged {
	struct kt_staged *next;
	u32 datagrams;	/* that it becomes, at least one */
	u32 bytes;	/* of memory that it occupies */
};

/* Memory for one session, lent to the engine again and again. */
struct kt_session_block {
	u64 opaque[4];
};

struct kt_departure {
	struct kt_endpoint endpoint;
	u32 reserved;
	kt_peer peer;
	struct kt_followup followup;
};

/* A handshake message to send. */
struct kt_outgoing {
	struct kt_endpoint endpoint;
	u32 len;
	u8 message[KT_MAX_HANDSHAKE_LEN];
	u8 tos;
	u8 reserved[3];
	struct kt_followup followup;
};

struct kt_due {
	kt_peer peer;
	u8 initiate;
	u8 keepalive;
	u8 reserved[6];
};

/* What kt_reserve() says. */
enum kt_reserved {
	KT_RESERVED,		/* there are numbers */
	KT_STAGE,		/* hand the packets to kt_stage() */
	KT_NOT_RESERVED,	/* drop them; they are counted */
};

enum kt_verdict_kind {
	KT_DELIVER,	/* the first len bytes of the plaintext */
	KT_KEEPALIVE,	/* nothing to deliver */
	KT_DROP,	/* drop it; it is counted */
};

struct kt_verdict {
	u32 len;
	u8 kind;	/* enum kt_verdict_kind */
	u8 rewritten;	/* write head over the start of the plaintext first */
	u8 reason;	/* why it is dropped */
	u8 reserved;
	u8 head[KT_HEAD_LEN];
};

enum kt_handled {
	KT_HANDLED_DROPPED,	/* counted */
	KT_HANDLED_REPLY,	/* send the message */
	KT_HANDLED_CONNECTED,	/* send what is staged for the peer, or a keepalive */
	KT_HANDLED_COOKIE,	/* nothing to do */
};

struct kt_allowed_ip {
	u8 address[16];
	u8 family;	/* 4 or 6 */
	u8 prefix_len;
	u8 remove;	/* in a change: it is not this peer's any more */
	u8 reserved;
};

#define KT_DEVICE_HAS_PRIVATE_KEY	BIT(0)
#define KT_DEVICE_REPLACE_PEERS		BIT(1)

#define KT_PEER_REMOVE			BIT(0)
#define KT_PEER_UPDATE_ONLY		BIT(1)
#define KT_PEER_REPLACE_ALLOWED_IPS	BIT(2)
#define KT_PEER_HAS_PRESHARED_KEY	BIT(3)
#define KT_PEER_HAS_KEEPALIVE		BIT(4)
#define KT_PEER_HAS_ENDPOINT		BIT(5)

/* Peers that do not exist are made, unless a flag says otherwise. Wipe it after use. */
struct kt_peer_change {
	const struct kt_allowed_ip *allowed_ips;
	u32 allowed_ips_count;
	u32 flags;
	u8 public_key[KT_KEY_LEN];
	u8 preshared_key[KT_KEY_LEN];
	struct kt_endpoint endpoint;	/* source is not looked at */
	u16 persistent_keepalive;	/* seconds, zero for none */
	u16 reserved;
};

/* All of it is done, in this order, or nothing. Wipe it after use. */
struct kt_change {
	const struct kt_peer_change *peers;
	u32 peers_count;
	u32 flags;
	u8 private_key[KT_KEY_LEN];	/* all zeros takes it away */
};

/* What kt_configure() says; nothing was changed unless it is KT_CONFIGURED. */
enum kt_configured {
	KT_CONFIGURED,
	KT_OUT_OF_MEMORY,
	KT_TOO_MANY_PEERS,	/* more than 2^20 */
	KT_NOT_SEEDED,		/* the system has no randomness yet */
	KT_INVALID,		/* a family, a prefix length: the glue has to check those */
};

/* What is known of a peer at one moment. Wipe it after use. */
struct kt_peer_info {
	u8 public_key[KT_KEY_LEN];
	u8 preshared_key[KT_KEY_LEN];	/* all zeros for none */
	struct kt_endpoint endpoint;
	u16 persistent_keepalive;
	u8 handshake_retries;
	u8 handshake_pending;
	u64 last_handshake;	/* KT_NEVER if there was none */
	u64 rx_bytes;
	u64 tx_bytes;
	u64 session_since;	/* KT_NEVER if there is none */
	u64 session_packets;
	u64 staged_bytes;
	u32 staged_datagrams;
	u32 drops[KT_REASONS];
	u64 deadlines[KT_TIMERS];	/* in the order of kt_timer_name() */
};

/*
 * Whether the engine was built for this header: a list of numbers that both sides make from their own definitions.
 * See KT_ABI_NUMBERS.
 */
bool kt_abi_matches(const u32 *numbers, u32 count);

#define KT_ABI_NUMBERS {						\
	KT_ABI_VERSION, KT_REASONS, KT_TIMERS,				\
	sizeof(struct kt_followup), sizeof(struct kt_endpoint),		\
	sizeof(struct kt_seal_job), sizeof(struct kt_open_job),		\
	sizeof(struct kt_incoming), sizeof(struct kt_staged),		\
	sizeof(struct kt_session_block), sizeof(struct kt_departure),	\
	sizeof(struct kt_outgoing), sizeof(struct kt_due),		\
	sizeof(struct kt_verdict), sizeof(struct kt_allowed_ip),	\
	sizeof(struct kt_peer_change), sizeof(struct kt_change),	\
	sizeof(struct kt_peer_info),					\
	KT_REASON_MALFORMED, KT_REASON_HANDSHAKE_QUEUE_FULL,		\
	KT_REASON_STALE_IN, KT_REASON_DELIVERY_FAILED,			\
	KT_REASON_NOT_IP, KT_REASON_NO_ROUTE, KT_REASON_NO_ENDPOINT,	\
	KT_REASON_STAGED_PURGED, KT_REASON_SEND_FAILED,			\
}

/* Life. */

/* A device without key and peers, down; NULL if there is no memory (about 130 KiB). May sleep. */
struct kt_device *kt_device_new(void);
/* Nobody else may be using it. May sleep. */
void kt_device_free(struct kt_device *device);
/* The interface came up; true if the earliest deadline moved. May sleep. */
bool kt_device_up(struct kt_device *device, u64 now);
/* The interface went down: sessions, handshakes, timers and staged packets end. May sleep. */
void kt_device_down(struct kt_device *device);
/* The machine slept or was copied: forget all sessions. May sleep. */
void kt_forget_sessions(struct kt_device *device);
/* Addresses, routes or the mark changed: forget from which local addresses peers were reached. May sleep. */
void kt_forget_sources(struct kt_device *device);
void kt_forget_source(struct kt_device *device, kt_peer peer);
/* Counts packets that the glue dropped; peer may be KT_NO_PEER. */
void kt_count_drop(struct kt_device *device, kt_peer peer, u8 reason, u32 packets);

/* Outgoing data. */

/* The peer for an inner packet of len bytes that begins with head; KT_NO_PEER, and *reason, if it is dropped. */
kt_peer kt_route(const struct kt_device *device, const u8 *head, u32 head_len, u32 len, u8 *reason);
/* enum kt_reserved; *reason as for kt_route(). */
u8 kt_reserve(const struct kt_device *device, u64 now, kt_peer peer, u32 count, struct kt_seal_job *job, u8 *reason);
/* Takes over the packet. */
void kt_stage(const struct kt_device *device, u64 now, kt_peer peer, struct kt_staged *packet,
	      struct kt_followup *followup);
/* True if there is a number for a keepalive. */
bool kt_reserve_keepalive(const struct kt_device *device, u64 now, kt_peer peer, struct kt_seal_job *job,
			  struct kt_followup *followup);
/*
 * All staged packets, linked by next, and one job that numbers them in this order; NULL if there is nothing to send now.
 * If it is not NULL, kt_flushed() must be called once they are on their way.
 */
struct kt_staged *kt_reserve_staged(const struct kt_device *device, u64 now, kt_peer peer, struct kt_seal_job *job,
				    struct kt_followup *followup);
void kt_flushed(const struct kt_device *device, u64 now, kt_peer peer, struct kt_followup *followup);
/* Moves the first count numbers of job to front. */
void kt_job_take(struct kt_seal_job *job, u32 count, struct kt_seal_job *front);
/*
 * Seals the job's packets: calls kt_host_seal() for packet, and then for whatever that returns, as often as the job has
 * numbers, count. False, and counted, if they must not be sent; nothing was sealed then, and the job is gone.
 */
bool kt_seal(const struct kt_device *device, struct kt_seal_job *job, void *packet, u32 count);
/* Accounts for bytes of sealed datagrams. False, and counted, if they must not be sent. The job is gone in any case. */
bool kt_commit_sealed(const struct kt_device *device, u64 now, struct kt_seal_job *job, u64 bytes, bool data,
		      struct kt_departure *departure);
/* Length that an inner packet is padded to with zeros. */
u32 kt_padded_len(u32 len, u32 mtu);
/* TOS byte of a datagram around an inner packet with this TOS byte. */
u8 kt_encapsulated_tos(u8 inner_tos);

/* Incoming data. */

/* False, not counted, if these are not header and length of a data message. */
bool kt_incoming_init(struct kt_incoming *incoming, const u8 header[KT_HEADER_LEN], u32 datagram_len, u8 ecn);
/* The packet was authentic when it was opened, and this is its plaintext (at least KT_HEAD_LEN bytes or all). */
void kt_incoming_authentic(struct kt_incoming *incoming, const u8 *plaintext, u32 len);
/* Finds the session of packets that share their receiver index, 64 at most; false, and counted, if none may pass. */
bool kt_admit(const struct kt_device *device, u64 now, struct kt_incoming *incoming, u32 count,
	      struct kt_open_job *job, kt_peer *peer);
/*
 * Calls kt_host_open() for packets[i] where incoming[i] may pass; for none if the session is gone, and then the glue counts
 * them as KT_REASON_STALE_IN. Keeps the job.
 */
void kt_open(const struct kt_device *device, const struct kt_open_job *job, struct kt_incoming *incoming,
	     void *const *packets, u32 count);
/* In the order of arrival, and all of them from the same place. The job is gone. */
void kt_commit_opened(const struct kt_device *device, u64 now, struct kt_open_job *job, struct kt_incoming *incoming,
		      u32 count, const struct kt_endpoint *from, struct kt_followup *followup);
void kt_verdict(const struct kt_incoming *incoming, struct kt_verdict *verdict);

/* Handshakes. All of these compute Diffie-Hellman, and may sleep. */

/* Whether a datagram of this length that begins with prefix is a handshake message. Does neither of the above. */
bool kt_is_handshake(const u8 prefix[4], u32 len);
/*
 * enum kt_handled. depth and capacity are those of the queue that the message was in. For KT_HANDLED_REPLY *outgoing is
 * complete; otherwise only its followup is. *peer is set for KT_HANDLED_CONNECTED.
 */
u8 kt_receive_handshake(const struct kt_device *device, u64 now, const u8 *message, u32 len,
			const struct kt_endpoint *from, u32 depth, u32 capacity, struct kt_session_block *block,
			kt_peer *peer, struct kt_outgoing *outgoing);
void kt_session_block_init(struct kt_session_block *block);
void kt_session_block_free(struct kt_session_block *block);
/* False if no initiation is to be sent; then ask kt_next_deadline() again. */
bool kt_initiate(const struct kt_device *device, u64 now, u64 wall_seconds, u32 wall_nanos, kt_peer peer,
		 struct kt_outgoing *outgoing);

/* Time. */

/* KT_NEVER if nothing is to be waited for. */
u64 kt_next_deadline(const struct kt_device *device);
/* One peer that has something to do; false if there is none now. */
bool kt_expire(const struct kt_device *device, u64 now, struct kt_due *due);

/* Configuration and listing. */

/* enum kt_configured, and rearm as in kt_followup. May sleep. */
u8 kt_configure(const struct kt_device *device, u64 now, const struct kt_change *change, bool *rearm);
/* Counts changes: if it differs after a listing, that mixes two states. */
u32 kt_generation(const struct kt_device *device);
u32 kt_peer_count(const struct kt_device *device);
/* False if there is no key. */
bool kt_private_key(const struct kt_device *device, u8 key[KT_KEY_LEN]);
bool kt_public_key(const struct kt_device *device, u8 key[KT_KEY_LEN]);
kt_peer kt_find(const struct kt_device *device, const u8 public_key[KT_KEY_LEN]);
/* The first peer after this one, which may be gone; the first of all after KT_NO_PEER; KT_NO_PEER at the end. */
kt_peer kt_next_peer(const struct kt_device *device, kt_peer after);
/* False if the peer is gone. */
bool kt_peer_info(const struct kt_device *device, kt_peer peer, struct kt_peer_info *info);
/*
 * The first allowed IP if *cursor is KT_FIRST, otherwise the one after it; moves *cursor. False at the end, and if the
 * allowed IP that the cursor stood on is gone: kt_generation() tells the difference.
 */
#define KT_FIRST U32_MAX
bool kt_next_allowed_ip(const struct kt_device *device, kt_peer peer, u32 *cursor, struct kt_allowed_ip *allowed_ip);
/* Packets that the device dropped for a reason below KT_REASONS, those of its peers included. */
u64 kt_drops(const struct kt_device *device, u8 reason);
/* Stable names; NULL from KT_REASONS and KT_TIMERS on. */
const char *kt_reason_name(u8 reason);
const char *kt_timer_name(u8 timer);
/* Whether packets dropped for this reason were on their way out. */
bool kt_reason_is_outgoing(u8 reason);

/* The glue, as the engine sees it. */

/* Order in which locks may be taken. The first one is a mutex; the second has readers and writers. */
enum kt_rank {
	KT_RANK_CONFIGURATION,
	KT_RANK_TABLES,
	KT_RANK_PEER,
	KT_RANK_DEVICE,
};

/* Memory, accounted to whoever configures; NULL if there is none. May sleep. */
void *kt_host_alloc(size_t size, size_t align);
void kt_host_free(void *memory, size_t size);
/*
 * A lock of that rank with room behind it for what it guards, aligned to 16 bytes; gives the room, whose address names the
 * lock in all calls below. NULL if there is no memory. May sleep.
 */
void *kt_host_lock_new(u8 rank, size_t len);
void kt_host_lock_free(void *lock, u8 rank, size_t len);
void kt_host_mutex_lock(void *lock);
void kt_host_mutex_unlock(void *lock);
/* With bottom halves off. */
void kt_host_spin_lock(void *lock);
void kt_host_spin_unlock(void *lock);
void kt_host_read_lock(void *lock);
void kt_host_read_unlock(void *lock);
void kt_host_write_lock(void *lock);
void kt_host_write_unlock(void *lock);
/* False if the system has no randomness yet. */
bool kt_host_random(u8 *out, size_t len);
/* Frees a staged packet. */
void kt_host_free_staged(struct kt_staged *packet);
/*
 * Seals one packet: header, padded packet, tag. A packet for which that fails is marked as not to be sent. Gives the next
 * packet of the run.
 */
void *kt_host_seal(void *packet, const u8 key[KT_KEY_LEN], u64 counter, const u8 header[KT_HEADER_LEN]);
/*
 * Opens one packet in place. The length of the plaintext's start that it copied to head, KT_HEAD_LEN at most, or -1 if the
 * packet is not authentic.
 */
int kt_host_open(void *packet, const u8 key[KT_KEY_LEN], u64 counter, u8 head[KT_HEAD_LEN]);
/* False if the result is all zeros. */
bool kt_host_x25519(u8 out[KT_KEY_LEN], const u8 private[KT_KEY_LEN], const u8 public[KT_KEY_LEN]);
void kt_host_public_key(u8 out[KT_KEY_LEN], const u8 private[KT_KEY_LEN]);
/* BLAKE2s in steps; the state lies with the engine, which wipes it. */
#define KT_BLAKE2S_STATE_LEN 160
void kt_host_blake2s_init(void *state, size_t out_len, const u8 *key, size_t key_len);
void kt_host_blake2s_update(void *state, const u8 *data, size_t len);
void kt_host_blake2s_final(void *state, u8 *out);
/* Short texts, KT_MAX_TEXT_LEN at most, in place. */
#define KT_MAX_TEXT_LEN 64
void kt_host_aead_seal(const u8 key[KT_KEY_LEN], u64 counter, const u8 *additional, size_t additional_len, u8 *text,
		       size_t len, u8 tag[16]);
bool kt_host_aead_open(const u8 key[KT_KEY_LEN], u64 counter, const u8 *additional, size_t additional_len, u8 *text,
		       size_t len, const u8 tag[16]);
void kt_host_xaead_seal(const u8 key[KT_KEY_LEN], const u8 nonce[24], const u8 *additional, size_t additional_len,
			u8 *text, size_t len, u8 tag[16]);
bool kt_host_xaead_open(const u8 key[KT_KEY_LEN], const u8 nonce[24], const u8 *additional, size_t additional_len,
			u8 *text, size_t len, const u8 tag[16]);

static_assert(sizeof(struct kt_followup) == 16);
static_assert(sizeof(struct kt_endpoint) == 44);
static_assert(sizeof(struct kt_staged) == 16);
static_assert(sizeof(struct kt_departure) == 72);
static_assert(sizeof(struct kt_outgoing) == 216);
static_assert(sizeof(struct kt_due) == 16);
static_assert(sizeof(struct kt_verdict) == 48);
static_assert(sizeof(struct kt_allowed_ip) == 20);
static_assert(sizeof(struct kt_peer_change) == 128);
static_assert(sizeof(struct kt_change) == 48);
static_assert(sizeof(struct kt_peer_info) == 344);

#endif
