// SPDX-License-Identifier: GPL-2.0 OR MIT
/* The kernel's crypto library for the engine. */

#include "kerntun.h"
#include "packet.h"

#include <crypto/blake2s.h>
#include <crypto/chacha20poly1305.h>
#include <crypto/curve25519.h>
#include <linux/scatterlist.h>
#include <linux/version.h>

/* Parts that a packet may be in: fragments, its head, and what skb_cow_data() may add. */
#define KT_MAX_PARTS (MAX_SKB_FRAGS + 8)

/* In one piece, and ours to write into. */
static bool is_simple(const struct sk_buff *skb)
{
	return !skb_is_nonlinear(skb) && !skb_cloned(skb);
}

static noinline bool seal_parts(struct sk_buff *skb, const u8 *key, u64 counter, const u8 *header, u32 padded)
{
	struct scatterlist parts[KT_MAX_PARTS];
	u32 padding = padded - skb->len;
	struct sk_buff *trailer;
	int count;

	count = skb_cow_data(skb, padding + CHACHA20POLY1305_AUTHTAG_SIZE, &trailer);
	if (count < 0 || count > ARRAY_SIZE(parts) || skb_cow_head(skb, KT_HEADROOM))
		return false;
	memset(pskb_put(skb, trailer, padding + CHACHA20POLY1305_AUTHTAG_SIZE), 0, padding);
	memcpy(skb_push(skb, KT_HEADER_LEN), header, KT_HEADER_LEN);
	sg_init_table(parts, count);
	if (skb_to_sgvec(skb, parts, KT_HEADER_LEN, padded + CHACHA20POLY1305_AUTHTAG_SIZE) <= 0)
		return false;
	return chacha20poly1305_encrypt_sg_inplace(parts, padded, NULL, 0, counter, key);
}

static bool seal(struct sk_buff *skb, const u8 *key, u64 counter, const u8 *header)
{
	u32 padded = kt_padded_len(skb->len, KT_RUN(skb)->mtu);
	u32 padding = padded - skb->len;
	u8 *text;

	/* Nobody after us can complete what is encrypted. */
	if (skb->ip_summed == CHECKSUM_PARTIAL && skb_checksum_help(skb))
		return false;
	/* To whoever carries it from here on it is a packet that was made here and now. */
	skb_scrub_packet(skb, true);
	skb_init_secmark(skb);
	skb->ip_summed = CHECKSUM_NONE;
	skb->encapsulation = 0;
	skb->priority = 0;
	skb_set_queue_mapping(skb, 0);

	if (!is_simple(skb) || skb_headroom(skb) < KT_HEADROOM ||
	    skb_tailroom(skb) < padding + CHACHA20POLY1305_AUTHTAG_SIZE)
		return seal_parts(skb, key, counter, header, padded);
	text = skb->data;
	memset(skb_put(skb, padding + CHACHA20POLY1305_AUTHTAG_SIZE), 0, padding);
	memcpy(skb_push(skb, KT_HEADER_LEN), header, KT_HEADER_LEN);
	chacha20poly1305_encrypt(text, text, padded, NULL, 0, counter, key);
	return true;
}

void *kt_host_seal(void *packet, const u8 key[KT_KEY_LEN], u64 counter, const u8 header[KT_HEADER_LEN])
{
	struct sk_buff *skb = packet;

	if (unlikely(!seal(skb, key, counter, header)))
		KT_RUN(skb)->mtu = KT_NOT_SEALED;
	return skb->next;
}

static noinline bool open_parts(struct sk_buff *skb, const u8 *key, u64 counter, u32 len)
{
	struct scatterlist parts[KT_MAX_PARTS];
	struct sk_buff *trailer;
	int count;

	count = skb_cow_data(skb, 0, &trailer);
	if (count < 0 || count > ARRAY_SIZE(parts))
		return false;
	sg_init_table(parts, count);
	if (skb_to_sgvec(skb, parts, KT_HEADER_LEN, len) <= 0)
		return false;
	return chacha20poly1305_decrypt_sg_inplace(parts, len, NULL, 0, counter, key);
}

int kt_host_open(void *packet, const u8 key[KT_KEY_LEN], u64 counter, u8 head[KT_HEAD_LEN])
{
	struct sk_buff *skb = packet;
	u32 len = skb->len - KT_HEADER_LEN;
	u32 head_len;
	bool authentic;

	if (likely(is_simple(skb))) {
		u8 *text = skb->data + KT_HEADER_LEN;

		authentic = chacha20poly1305_decrypt(text, text, len, NULL, 0, counter, key);
	} else {
		authentic = open_parts(skb, key, counter, len);
	}
	head_len = min_t(u32, len - CHACHA20POLY1305_AUTHTAG_SIZE, KT_HEAD_LEN);
	if (!authentic || skb_copy_bits(skb, KT_HEADER_LEN, head, head_len)) {
		KT_RUN(skb)->outcome = KT_RUN_FAILED;
		return -1;
	}
	KT_RUN(skb)->outcome = KT_RUN_DONE;
	return head_len;
}

bool kt_host_x25519(u8 out[KT_KEY_LEN], const u8 private[KT_KEY_LEN], const u8 public[KT_KEY_LEN])
{
	u8 clamped[CURVE25519_KEY_SIZE];
	bool ok;

	/* A new private key has this done for each peer. */
	cond_resched();
	memcpy(clamped, private, sizeof(clamped));
	curve25519_clamp_secret(clamped);
	ok = curve25519(out, clamped, public);
	memzero_explicit(clamped, sizeof(clamped));
	return ok;
}

void kt_host_public_key(u8 out[KT_KEY_LEN], const u8 private[KT_KEY_LEN])
{
	u8 clamped[CURVE25519_KEY_SIZE];

	memcpy(clamped, private, sizeof(clamped));
	curve25519_clamp_secret(clamped);
	if (!curve25519_generate_public(out, clamped))
		memset(out, 0, CURVE25519_KEY_SIZE);
	memzero_explicit(clamped, sizeof(clamped));
}

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 19, 0)
typedef struct blake2s_ctx kt_blake2s;
#else
typedef struct blake2s_state kt_blake2s;
#endif
static_assert(sizeof(kt_blake2s) <= KT_BLAKE2S_STATE_LEN);

void kt_host_blake2s_init(void *state, size_t out_len, const u8 *key, size_t key_len)
{
	if (key_len)
		blake2s_init_key((kt_blake2s *)state, out_len, key, key_len);
	else
		blake2s_init((kt_blake2s *)state, out_len);
}

void kt_host_blake2s_update(void *state, const u8 *data, size_t len)
{
	blake2s_update((kt_blake2s *)state, data, len);
}

void kt_host_blake2s_final(void *state, u8 *out)
{
	blake2s_final((kt_blake2s *)state, out);
}

/* The library wants text and tag in one piece. */
struct kt_text {
	u8 bytes[KT_MAX_TEXT_LEN + CHACHA20POLY1305_AUTHTAG_SIZE];
};

static void split(struct kt_text *from, u8 *text, size_t len, u8 *tag)
{
	memcpy(text, from->bytes, len);
	memcpy(tag, from->bytes + len, CHACHA20POLY1305_AUTHTAG_SIZE);
	memzero_explicit(from, sizeof(*from));
}

/* False if it is longer than any text of a handshake. */
static bool join(struct kt_text *to, const u8 *text, size_t len, const u8 *tag)
{
	if (WARN_ON_ONCE(len > KT_MAX_TEXT_LEN))
		return false;
	memcpy(to->bytes, text, len);
	memcpy(to->bytes + len, tag, CHACHA20POLY1305_AUTHTAG_SIZE);
	return true;
}

/* Gives back the plaintext, or zeros if it is not authentic. */
static bool opened(struct kt_text *from, bool ok, u8 *text, size_t len)
{
	if (ok)
		memcpy(text, from->bytes, len);
	else
		memset(text, 0, len);
	memzero_explicit(from, sizeof(*from));
	return ok;
}

void kt_host_aead_seal(const u8 key[KT_KEY_LEN], u64 counter, const u8 *additional, size_t additional_len, u8 *text,
		       size_t len, u8 tag[16])
{
	struct kt_text out;

	if (!join(&out, text, len, tag))
		return;
	chacha20poly1305_encrypt(out.bytes, out.bytes, len, additional, additional_len, counter, key);
	split(&out, text, len, tag);
}

bool kt_host_aead_open(const u8 key[KT_KEY_LEN], u64 counter, const u8 *additional, size_t additional_len, u8 *text,
		       size_t len, const u8 tag[16])
{
	struct kt_text in;
	bool ok;

	if (!join(&in, text, len, tag))
		return false;
	ok = chacha20poly1305_decrypt(in.bytes, in.bytes, len + CHACHA20POLY1305_AUTHTAG_SIZE, additional, additional_len,
				      counter, key);
	return opened(&in, ok, text, len);
}

void kt_host_xaead_seal(const u8 key[KT_KEY_LEN], const u8 nonce[24], const u8 *additional, size_t additional_len,
			u8 *text, size_t len, u8 tag[16])
{
	struct kt_text out;

	if (!join(&out, text, len, tag))
		return;
	xchacha20poly1305_encrypt(out.bytes, out.bytes, len, additional, additional_len, nonce, key);
	split(&out, text, len, tag);
}

bool kt_host_xaead_open(const u8 key[KT_KEY_LEN], const u8 nonce[24], const u8 *additional, size_t additional_len,
			u8 *text, size_t len, const u8 tag[16])
{
	struct kt_text in;
	bool ok;

	if (!join(&in, text, len, tag))
		return false;
	ok = xchacha20poly1305_decrypt(in.bytes, in.bytes, len + CHACHA20POLY1305_AUTHTAG_SIZE, additional, additional_len,
				       nonce, key);
	return opened(&in, ok, text, len);
}
