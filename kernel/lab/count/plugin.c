// A plugin of QEMU's: counts the instructions that a guest executes at each address between two calls of a program in it, and writes
// them to a file. The functions of QEMU that it uses are declared here, because Debian ships no header for them.
//
//   -plugin plugin.so,begin=ADDRESS,end=ADDRESS,out=FILE     the addresses of measure_begin and measure_end
//
// For each pair of calls it writes a line "measured", and then one "ADDRESS INSTRUCTIONS" for every piece of code that ran.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

struct qemu_plugin_tb;
typedef uint64_t id_t_;
enum { INLINE_ADD_U64 = 0, NO_REGISTERS = 0 };
void qemu_plugin_register_vcpu_tb_trans_cb(id_t_ id, void (*called)(id_t_ id, struct qemu_plugin_tb *tb));
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *tb);
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *tb, void (*called)(unsigned int cpu, void *data), int registers,
					  void *data);
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *tb, int operation, void *counter, uint64_t by);

EXPORT int qemu_plugin_version = 1;

// A block of code without a branch in it. One processor runs all of them, so nothing is locked.
struct block {
	struct block *next;
	uint64_t address;
	uint64_t instructions;	// executed since measure_begin
	size_t length;
};

#define BUCKETS 65536
static struct block *blocks[BUCKETS];
static uint64_t begin, end;
static const char *out_path;

static struct block *block_of(uint64_t address, size_t length)
{
	struct block **place = &blocks[(address ^ address >> 16) % BUCKETS];

	while (*place && ((*place)->address != address || (*place)->length != length))
		place = &(*place)->next;
	if (!*place) {
		*place = calloc(1, sizeof(**place));
		if (!*place)
			abort();
		(*place)->address = address;
		(*place)->length = length;
	}
	return *place;
}

static void began(unsigned int cpu, void *data)
{
	for (size_t i = 0; i < BUCKETS; i++)
		for (struct block *block = blocks[i]; block; block = block->next)
			block->instructions = 0;
}

static void ended(unsigned int cpu, void *data)
{
	FILE *out = fopen(out_path, "a");

	if (!out)
		return;
	fprintf(out, "measured\n");
	for (size_t i = 0; i < BUCKETS; i++)
		for (struct block *block = blocks[i]; block; block = block->next)
			if (block->instructions)
				fprintf(out, "%lx %lu\n", block->address, block->instructions);
	fclose(out);
}

static void translated(id_t_ id, struct qemu_plugin_tb *tb)
{
	uint64_t address = qemu_plugin_tb_vaddr(tb);
	size_t length = qemu_plugin_tb_n_insns(tb);

	qemu_plugin_register_vcpu_tb_exec_inline(tb, INLINE_ADD_U64, &block_of(address, length)->instructions, length);
	if (address == begin)
		qemu_plugin_register_vcpu_tb_exec_cb(tb, began, NO_REGISTERS, NULL);
	if (address == end)
		qemu_plugin_register_vcpu_tb_exec_cb(tb, ended, NO_REGISTERS, NULL);
}

EXPORT int qemu_plugin_install(id_t_ id, const void *info, int argc, char **argv)
{
	for (int i = 0; i < argc; i++) {
		if (!strncmp(argv[i], "begin=", 6))
			begin = strtoull(argv[i] + 6, NULL, 0);
		else if (!strncmp(argv[i], "end=", 4))
			end = strtoull(argv[i] + 4, NULL, 0);
		else if (!strncmp(argv[i], "out=", 4))
			out_path = strdup(argv[i] + 4);
	}
	if (!begin || !end || !out_path)
		return 1;
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	return 0;
}
