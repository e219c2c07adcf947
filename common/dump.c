#include "common/dump.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/ctl.h"
#include "common/debug.h"
#include "common/log.h"
#include "common/util.h"
#include "common/vm.h"

#define CHUNK MIB(1)
#define HOLE KIB(64)                            /* smallest stretch of zeroes that is left out */
#define STEPS_MIN (1u << 20)
#define NOTE_ALIGN(n) (((n) + 3u) & ~3u)

struct dump {
	struct ctl_call *call;
	struct vm *vm;
	char *path;
	int fd;
	char *head;                             /* ELF header, program headers, notes */
	size_t head_len;
	uint64_t data;                          /* file offset of the first region */
	uint64_t told;                          /* percent */
};

/* --- What the page tables map --- */

struct scan {
	const struct vm *vm;
	const struct debug_mmu *mmu;
	struct core_map *map;
	unsigned n, cap, max;
	uint64_t steps;                         /* left in this half */
};

static int scan_add(struct scan *s, uint64_t va, uint64_t pa, uint64_t len)
{
	struct core_map *last = s->n ? &s->map[s->n - 1] : NULL;

	if (last && last->va + last->len == va && last->pa + last->len == pa) {
		last->len += len;
		return 0;
	}
	if (s->n == s->max)
		return -ENOSPC;
	if (s->n == s->cap) {
		const unsigned cap = s->cap ? s->cap * 2 : 64;
		struct core_map *more = realloc(s->map, cap * sizeof(*more));

		if (!more)
			return -ENOMEM;
		s->map = more;
		s->cap = cap;
	}
	s->map[s->n++] = (struct core_map){ va, pa, len };
	return 0;
}

/* How far it is from pa, where no RAM is, to the next RAM. */
static uint64_t gap_at(const struct guest_mem *mem, uint64_t pa)
{
	uint64_t gap = UINT64_MAX;

	for (unsigned i = 0; i < mem->n; i++)
		if (mem->r[i].gpa > pa)
			gap = MIN(gap, mem->r[i].gpa - pa);
	return gap;
}

/*
 * From va for `left` bytes; the walk tells the length of holes as well.  Tables that point to each other would map the whole space
 * page by page, so it takes as many steps as RAM that is mapped twice, and some for what is no RAM.
 */
static int scan_half(struct scan *s, uint64_t va, uint64_t left)
{
	uint64_t pa, len;
	int err = 0;

	s->steps = mem_total(&s->vm->mem) / KIB(4) * 2 + STEPS_MIN;
	for (; left && !err && s->steps; va += len, left -= len, s->steps--) {
		const bool mapped = s->vm->arch->debug->walk(s->mmu, va, &pa, &len) == 0;

		len = MIN(len, left);
		if (!len)
			break;
		for (uint64_t off = 0, run; mapped && off < len && !err; off += run) {
			run = MIN(mem_run(&s->vm->mem, pa + off), len - off);
			if (run)
				err = scan_add(s, va + off, pa + off, run);
			else
				run = MIN(gap_at(&s->vm->mem, pa + off), len - off);    /* a device, or nothing */
		}
	}
	return err;
}

int core_maps(const struct vm *vm, const struct debug_mmu *mmu, unsigned max, struct core_map **out)
{
	const uint64_t half = 1ull << vm->arch->core->va_bits_max;
	struct scan s = { .vm = vm, .mmu = mmu, .max = max };
	/* The kernel's half first: it is what a debugger of kernels wants when there is more than the file takes. */
	int err = scan_half(&s, -half, half);

	if (!err)
		err = scan_half(&s, 0, half);
	*out = s.map;
	return err == -ENOMEM ? err : (int)s.n;
}

/* --- Head of the file --- */

static size_t note_len(const struct core_note *n)
{
	return sizeof(Elf64_Nhdr) + NOTE_ALIGN(strlen(n->owner) + 1) + NOTE_ALIGN(n->size);
}

/* Number and size of a register by its name; -1: the architecture has none. */
static int reg_find(const struct arch_debug *d, const char *name, unsigned *bytes)
{
	int no = 0;

	for (const struct debug_feature *f = d->features; f->name; f++)
		for (unsigned i = 0; i < f->nregs; i++, no++)
			if (!strcmp(f->regs[i].name, name)) {
				*bytes = f->regs[i].bits / 8u;
				return no;
			}
	return -1;
}

static char *put_note(char *p, const struct core_note *n, struct vcpu *v)
{
	const Elf64_Nhdr h = { .n_namesz = (uint32_t)strlen(n->owner) + 1, .n_descsz = n->size, .n_type = n->type };
	char *desc = p + sizeof(h) + NOTE_ALIGN(h.n_namesz);

	memcpy(p, &h, sizeof(h));
	memcpy(p + sizeof(h), n->owner, h.n_namesz);
	memcpy(desc, n->head, sizeof(n->head));
	if (n->pid_off)
		put_le32(desc + n->pid_off, v->id + 1);
	for (const struct core_field *f = n->fields; f->reg; f++) {
		uint8_t val[DEBUG_REG_MAX];
		unsigned bytes = 0;
		const int no = reg_find(v->vm->arch->debug, f->reg, &bytes);

		if (no >= 0 && arch_debug_get(v, (unsigned)no, val) == 0)
			memcpy(desc + f->off, val, f->size ? MIN(f->size, bytes) : bytes);
	}
	return p + note_len(n);
}

static Elf64_Phdr load_segment(const struct dump *d, uint64_t va, uint64_t pa, uint64_t len)
{
	uint64_t off = d->data;

	for (unsigned i = 0; i < d->vm->mem.n; i++) {
		const struct mem_region *r = &d->vm->mem.r[i];

		if (pa >= r->gpa && pa - r->gpa < r->len_bytes) {
			off += pa - r->gpa;
			break;
		}
		off += r->len_bytes;
	}
	return (Elf64_Phdr){ .p_type = PT_LOAD, .p_flags = PF_R | PF_W | PF_X, .p_offset = off, .p_vaddr = va, .p_paddr = pa,
			     .p_filesz = len, .p_memsz = len };
}

/* Segments by virtual address first, as debuggers take the first that fits, then all RAM by physical address. */
static int make_head(struct dump *d, const struct core_map *maps, unsigned nmaps)
{
	const struct vm *vm = d->vm;
	const unsigned nph = 1 + nmaps + vm->mem.n;
	size_t notes = 0;
	Elf64_Ehdr e = {
		.e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT }, .e_type = ET_CORE,
		.e_machine = vm->arch->core->machine, .e_version = EV_CURRENT, .e_phoff = sizeof(e), .e_ehsize = sizeof(e),
		.e_phentsize = sizeof(Elf64_Phdr), .e_phnum = (uint16_t)nph,
	};
	Elf64_Phdr *ph;
	char *p;

	for (const struct core_note *n = vm->arch->core->notes; n->owner; n++)
		notes += note_len(n) * vm->nvcpus;
	d->head_len = sizeof(e) + nph * sizeof(*ph) + notes;
	d->data = ALIGN_UP(d->head_len, HOLE);
	d->head = calloc(1, d->head_len);
	if (!d->head)
		return -ENOMEM;
	memcpy(d->head, &e, sizeof(e));
	ph = (Elf64_Phdr *)(d->head + sizeof(e));
	p = (char *)(ph + nph);
	*ph++ = (Elf64_Phdr){ .p_type = PT_NOTE, .p_offset = (uint64_t)(p - d->head), .p_filesz = notes, .p_memsz = notes };
	for (unsigned i = 0; i < nmaps; i++)
		*ph++ = load_segment(d, maps[i].va, maps[i].pa, maps[i].len);
	for (unsigned i = 0; i < vm->mem.n; i++)
		*ph++ = load_segment(d, vm->mem.r[i].gpa, vm->mem.r[i].gpa, vm->mem.r[i].len_bytes);
	for (unsigned i = 0; i < vm->nvcpus; i++)
		for (const struct core_note *n = vm->arch->core->notes; n->owner; n++)
			p = put_note(p, n, &vm->vcpus[i]);
	return 0;
}

/* --- Writing, on a thread --- */

static int write_at(const struct dump *d, const void *buf, size_t len, uint64_t off)
{
	for (size_t done = 0; done < len;) {
		const ssize_t n = pwrite(d->fd, (const char *)buf + done, len - done, (off_t)(off + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return err_sys("core file '%s': write", d->path);
		done += (size_t)n;
	}
	return 0;
}

static bool all_zero(const char *p, size_t len)
{
	return !*p && !memcmp(p, p + 1, len - 1);
}

/* In pieces, without those that hold nothing. */
static int write_chunk(const struct dump *d, const char *p, size_t len, uint64_t off)
{
	int err = 0;

	for (size_t at = 0, n; at < len && !err; at += n) {
		n = MIN(len - at, HOLE);
		if (!all_zero(p + at, n))
			err = write_at(d, p + at, n, off + at);
	}
	return err;
}

static void tell_progress(struct dump *d, uint64_t done, uint64_t total)
{
	const uint64_t percent = done * 100 / total;

	if (percent == d->told)
		return;
	d->told = percent;
	ctl_event(d->vm, "progress", json_pack("{s:s, s:I, s:I}", "method", "dump", "done", (json_int_t)done, "total", (json_int_t)total));
}

/* The machine is to end, which has waited for this. */
static bool told_to_end(struct vm *vm)
{
	bool ends;

	pthread_mutex_lock(&vm->req_lock);
	ends = vm->cause == CAUSE_SIGNAL;
	pthread_mutex_unlock(&vm->req_lock);
	return ends;
}

static int dump_write(void *arg)
{
	struct dump *d = arg;
	const uint64_t total = mem_total(&d->vm->mem);
	uint64_t done = 0, off = d->data;
	int err = write_at(d, d->head, d->head_len, 0);

	for (unsigned i = 0; i < d->vm->mem.n && !err; i++) {
		const struct mem_region *r = &d->vm->mem.r[i];

		for (uint64_t at = 0, n; at < r->len_bytes && !err; at += n) {
			n = MIN(r->len_bytes - at, CHUNK);
			err = write_chunk(d, (const char *)r->hva + at, n, off + at);
			done += n;
			tell_progress(d, done, total);
			if (!err && told_to_end(d->vm))
				err = err_msg(-ECANCELED, "core file '%s': given up, since the machine is to end", d->path);
		}
		off += r->len_bytes;
	}
	if (!err && ftruncate(d->fd, (off_t)off))
		err = err_sys("core file '%s': setting its size", d->path);
	if (close(d->fd) && !err)
		err = err_sys("core file '%s': close", d->path);
	d->fd = -1;
	if (err)
		unlink(d->path);
	return err;
}

/* --- The method --- */

static void dump_free(struct dump *d)
{
	if (d->fd >= 0) {
		close(d->fd);
		unlink(d->path);
	}
	free(d->head);
	free(d->path);
	free(d);
}

static void dump_done(struct ctl_call *call, void *arg, int err)
{
	struct dump *d = arg;

	vm_release(d->vm, HOLD_SAVE);
	if (!err)
		call->result = json_pack("{s:o, s:I}", "path", ctl_text(d->path), "memory", (json_int_t)mem_total(&d->vm->mem));
	dump_free(d);
	ctl_answer(call, err);
}

static int read_guest(void *arg, uint64_t gpa, void *buf, size_t len)
{
	return mem_read(arg, gpa, buf, len) ? 0 : -EFAULT;
}

static int dump_prepare(struct dump *d)
{
	struct debug_mmu mmu = { .read = read_guest, .arg = &d->vm->mem };
	struct core_map *maps = NULL;
	int n, err;

	arch_debug_mmu(&d->vm->vcpus[0], &mmu);
	n = core_maps(d->vm, &mmu, CORE_MAPS_MAX, &maps);
	err = n < 0 ? n : make_head(d, maps, (unsigned)n);
	free(maps);
	return err;
}

int dump_ctl(struct ctl_call *call)
{
	struct dump *d;
	int err = 0;

	if (ctl_busy(call, "dump"))
		return err_msg(-EBUSY, "a core file is being written; try again when it is there");
	d = calloc(1, sizeof(*d));
	if (!d)
		return -ENOMEM;
	*d = (struct dump){ .call = call, .vm = call->vm, .fd = -1, .path = strdup(ctl_str(call, "path")) };
	d->fd = d->path ? open(d->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600) : -1;
	if (d->fd < 0)
		err = err_sys("core file '%s': create", ctl_str(call, "path"));
	if (!err) {
		vm_hold(d->vm, HOLD_SAVE);
		vm_state_set(d->vm, VM_SAVING, d->vm->holds == HOLD_SAVE ? VM_RUNNING : VM_PAUSED);
		err = dump_prepare(d);
		if (!err)
			err = ctl_work(call, dump_write, dump_done, d);
		if (!err)
			return CTL_LATER;
		vm_release(d->vm, HOLD_SAVE);
	}
	dump_free(d);
	return err;
}
