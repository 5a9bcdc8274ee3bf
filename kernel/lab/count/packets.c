// Counts the instructions that a guest needs to carry packets from one network namespace to another. QEMU's -icount makes the time stamp
// counter count instructions, of all that runs: the tunnel's workers and softirqs as well as this program.
//
//   packets FROM TO ADDRESS PORT SIZE COUNT ROUNDS [gso]
//
// Sends COUNT datagrams of SIZE bytes one after the other (gso: at once, segmented by the kernel) from namespace FROM to ADDRESS, where
// a socket in namespace TO receives them; ROUNDS times. Prints the median of the instructions for one datagram, and which part of the
// rounds lies within 2 % of it.
//
//   packets FROM TO ADDRESS PORT SIZE COUNT ROUNDS [gso] LISTEN
//
// LISTEN is the port that is listened on if it is not PORT's: the datagrams come out of a tunnel as they are, sealed.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <x86intrin.h>

#define MAX_COUNT 64
#define WARM_UP 30

static void check(int failed, const char *what)
{
	if (!failed)
		return;
	perror(what);
	exit(1);
}

// The profiler knows the addresses of these two (plugin.c).
__attribute__((noinline, noipa)) void measure_begin(void) { __asm__ volatile("" ::: "memory"); }
__attribute__((noinline, noipa)) void measure_end(void) { __asm__ volatile("" ::: "memory"); }

static void enter(const char *namespace)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/run/netns/%s", namespace);
	fd = open(path, O_RDONLY);
	check(fd < 0 || setns(fd, CLONE_NEWNET) < 0, path);
	close(fd);
}

static int by_size(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
	static uint8_t text[MAX_COUNT * 1400], got[2000];
	static uint64_t taken[100000];
	struct sockaddr_in to = { .sin_family = AF_INET }, here = { .sin_family = AF_INET };
	int size, count, rounds, gso, sender, receiver, near = 0;
	int buffer = 8 << 20;

	if (argc < 8)
		return 2;
	size = atoi(argv[5]), count = atoi(argv[6]), rounds = atoi(argv[7]);
	gso = argc > 8 && !strcmp(argv[8], "gso");
	if (size < 1 || size > 1400 || count < 1 || count > MAX_COUNT || rounds < 1 || rounds > 100000 - WARM_UP)
		return 2;
	inet_pton(AF_INET, argv[3], &to.sin_addr);
	to.sin_port = htons(atoi(argv[4]));
	here.sin_port = argc > 8 + gso ? htons(atoi(argv[8 + gso])) : to.sin_port;
	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = i * 7;

	enter(argv[2]);
	receiver = socket(AF_INET, SOCK_DGRAM, 0);
	check(setsockopt(receiver, SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof(buffer)) < 0, "SO_RCVBUFFORCE");
	check(bind(receiver, (void *)&here, sizeof(here)) < 0, "bind");
	enter(argv[1]);
	sender = socket(AF_INET, SOCK_DGRAM, 0);
	check(setsockopt(sender, SOL_SOCKET, SO_SNDBUFFORCE, &buffer, sizeof(buffer)) < 0, "SO_SNDBUFFORCE");
	check(connect(sender, (void *)&to, sizeof(to)) < 0, "connect");
	if (gso)
		check(setsockopt(sender, SOL_UDP, UDP_SEGMENT, &size, sizeof(size)) < 0, "UDP_SEGMENT");

	for (int round = -WARM_UP; round < rounds; round++) {
		uint64_t start;

		if (round == 0)
			measure_begin();
		start = __rdtsc();
		if (gso)
			check(send(sender, text, (size_t)size * count, 0) != size * count, "send");
		else
			for (int i = 0; i < count; i++)
				check(send(sender, text, size, 0) != size, "send");
		for (int i = 0; i < count; i++)
			check(recv(receiver, got, sizeof(got), 0) < size, "recv");
		if (round >= 0)
			taken[round] = (__rdtsc() - start) / count;
	}
	measure_end();

	qsort(taken, rounds, sizeof(*taken), by_size);
	for (int i = 0; i < rounds; i++)
		near += taken[i] * 50 >= taken[rounds / 2] * 49 && taken[i] * 50 <= taken[rounds / 2] * 51;
	printf("%lu %d\n", taken[rounds / 2], near * 100 / rounds);
	return 0;
}
