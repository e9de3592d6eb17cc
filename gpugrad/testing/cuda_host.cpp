// Runs a launch: blocks one after the other, the threads of a block as fibers (see cuda_host.py).
//
// A fiber runs until it meets a barrier or a collective of its warp; then the scheduler goes on with
// the next.  When no thread of a block can go on and not all are done, what they wait for is an
// error.  Compiled once; modules find its symbols when they are loaded.  One launch at a time: the
// caller holds a lock.

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>

#include "cuda_host.h"

// ---- switching between stacks -------------------------------------------------------------------

#if defined(__x86_64__) && !defined(GG_HOST_UCONTEXT)
// Saves what a function must keep, and continues where the other context saved.  swapcontext would
// do, but asks the system for the signal mask each time.
typedef void* Context;
extern "C" void gg_host_switch(Context* from, Context to);
asm(R"(
.text
.hidden gg_host_switch
.globl gg_host_switch
.type gg_host_switch, @function
gg_host_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
)");
static void change(Context& from, Context& to) { gg_host_switch(&from, to); }
static void prepare(Context& context, char* stack, size_t size, void (*entry)()) {
    void** top = (void**)(stack + size);
    top[-2] = (void*)entry;  // leaves the stack as a call would, 8 past a multiple of 16
    context = top - 8;
}
#else
#include <ucontext.h>
typedef ucontext_t Context;
static void change(Context& from, Context& to) { swapcontext(&from, &to); }
static void prepare(Context& context, char* stack, size_t size, void (*entry)()) {
    getcontext(&context);
    context.uc_stack.ss_sp = stack;
    context.uc_stack.ss_size = size;
    context.uc_link = nullptr;
    makecontext(&context, entry, 0);
}
#endif

// ---- state --------------------------------------------------------------------------------------

constexpr int MOST = 1024, PAGE = 4096, STACK = 128 * 1024, DYNAMIC = 232 * 1024;
constexpr unsigned char RUBBISH = 0xff;  // NaN for floats, -1 for integers

extern "C" {
uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;
alignas(PAGE) unsigned char gg_host_dynamic[DYNAMIC + PAGE];
}

enum State { NEW, READY, AT_BARRIER, AT_WARP, DONE };
struct Fiber {
    Context context;
    State state;
    int stack, lane, kind, line, source;
    unsigned mask;
    unsigned long long value;
    uint3 index;
};
static Fiber fibers[MOST];
static Fiber* current;
static Context scheduler;
static int threads, free_stacks[MOST], free_count, stacks_made;
static char* stacks;
static const gg_host::Kernel* kernel;
static void** arguments;
static char* message;
static size_t message_size;
static sigjmp_buf failed;
static pthread_t owner;

static const char* const KINDS[] = {
    "__syncwarp", "__shfl_sync", "__shfl_up_sync", "__shfl_down_sync", "__shfl_xor_sync", "a vote",
    "__match_any_sync", "__reduce_add_sync", "__reduce_min_sync", "__reduce_max_sync",
    "__reduce_add_sync", "__reduce_min_sync", "__reduce_max_sync", "__reduce_and_sync",
    "__reduce_or_sync", "__reduce_xor_sync",
};

static int length;
static void say(const char* format, ...) {
    va_list args;
    va_start(args, format);
    const int n = vsnprintf(message + length, message_size - length, format, args);
    va_end(args);
    length = length + n < (int)message_size ? length + n : (int)message_size - 1;
}
static void say_place(const Fiber* f) {
    say("block (%u, %u, %u)", blockIdx.x, blockIdx.y, blockIdx.z);
    if (f) say(", thread (%u, %u, %u)", f->index.x, f->index.y, f->index.z);
    say(": ");
}

extern "C" void gg_host_fail(int line, const char* text) {
    say_place(current);
    say("line %d: %s", line, text);
    siglongjmp(failed, 1);
}

static void on_signal(int number, siginfo_t* info, void*) {
    if (!pthread_equal(pthread_self(), owner)) {  // a timer's signal comes to any thread
        pthread_kill(owner, number);
        return;
    }
    const char* at = (const char*)info->si_addr;
    say_place(current);
    if (number == SIGVTALRM) say("still running when its time was over");
    else if (number == SIGFPE) say("division of an integer by zero");
    else if (number == SIGILL || number == SIGTRAP)
        say("an address that is no multiple of the type's alignment");
    else if (stacks && at >= stacks && at < stacks + (size_t)MOST * (STACK + PAGE))
        say("its stack of %d KiB is full", STACK / 1024);
    else if (at >= (char*)gg_host_dynamic && at < (char*)gg_host_dynamic + sizeof gg_host_dynamic)
        say("access beyond its dynamic shared memory");
    else say("access to address %p, which is not its memory", (const void*)at);
    siglongjmp(failed, 1);
}

// ---- what a fiber calls -------------------------------------------------------------------------

extern "C" int gg_host_lane() { return current->lane; }

static void wait_as(State state) {
    current->state = state;
    change(current->context, scheduler);
}

extern "C" int gg_host_barrier(int kind, int predicate, int line) {
    current->kind = kind;
    current->value = predicate;
    current->line = line;
    wait_as(AT_BARRIER);
    return (int)current->value;
}

extern "C" unsigned long long gg_host_warp(int kind, unsigned mask, unsigned long long value,
                                           int source, int line) {
    if (!(mask >> current->lane & 1)) gg_host_fail(line, "the mask does not name the calling lane");
    current->kind = kind;
    current->mask = mask;
    current->value = value;
    current->source = source;
    current->line = line;
    wait_as(AT_WARP);
    return current->value;
}

static void entry() {
    kernel->call(arguments);
    free_stacks[free_count++] = current->stack;  // nobody else uses it before the switch
    current->state = DONE;
    change(current->context, scheduler);
    __builtin_unreachable();
}

// ---- the scheduler ------------------------------------------------------------------------------

static void resume(Fiber& f) {
    if (f.state == NEW) {
        if (!free_count) {
            char* made = stacks + (size_t)stacks_made * (STACK + PAGE);
            mprotect(made, PAGE, PROT_NONE);
            free_stacks[free_count++] = stacks_made++;
        }
        f.stack = free_stacks[--free_count];
        // Their tops lie in different lines of the cache, of which it has few per place in a page.
        const size_t size = STACK - f.stack * 320 % PAGE;
        prepare(f.context, stacks + (size_t)f.stack * (STACK + PAGE) + PAGE, size, entry);
    }
    f.state = READY;
    current = &f;
    threadIdx = f.index;
    change(scheduler, f.context);
    current = nullptr;
}

static unsigned long long reduced(int kind, unsigned long long a, unsigned long long b) {
    using namespace gg_host;
    switch (kind) {
        case ADD: return (unsigned long long)(long long)(int)(a + b);
        case UADD: return (unsigned)(a + b);
        case MIN: return (long long)a < (long long)b ? a : b;
        case MAX: return (long long)a > (long long)b ? a : b;
        case UMIN: return (unsigned)a < (unsigned)b ? a : b;
        case UMAX: return (unsigned)a > (unsigned)b ? a : b;
        case BITAND: return a & b;
        case BITOR: return a | b;
        default: return a ^ b;
    }
}

// Lets the lanes go on that wait with one mask for one kind of collective.
static void finish(Fiber* warp, unsigned mask, int kind) {
    using namespace gg_host;
    unsigned long long values[32];
    unsigned there = 0, votes = 0;
    for (int i = 0; i < 32; ++i) {
        if (!(mask >> i & 1) || warp + i >= fibers + threads || warp[i].state != AT_WARP) continue;
        there |= 1u << i;
        values[i] = warp[i].value;
        votes |= (unsigned)(values[i] & 1) << i;
    }
    unsigned long long all = 0;
    bool first = true;
    if (kind >= ADD)
        for (int i = 0; i < 32; ++i)
            if (there >> i & 1) {
                all = first ? values[i] : reduced(kind, all, values[i]);
                first = false;
            }
    for (int i = 0; i < 32; ++i) {
        if (!(there >> i & 1)) continue;
        Fiber& f = warp[i];
        if (kind == VOTE) f.value = (unsigned long long)there << 32 | votes;
        else if (kind == MATCH) {
            f.value = 0;
            for (int j = 0; j < 32; ++j)
                if (there >> j & 1 && values[j] == values[i]) f.value |= 1ull << j;
        } else if (kind >= ADD) f.value = all;
        else if (kind != SYNC) f.value = there >> f.source & 1 ? values[f.source] : ~0ull;
        f.state = READY;
    }
}

// The first lane that a waiting one waits for in vain, or -1.  Lanes that are done, and those
// beyond the block, count as arrived, as on a GPU.
static int missing(const Fiber* warp, int lanes, const Fiber& f) {
    for (int i = 0; i < lanes; ++i) {
        const Fiber& other = warp[i];
        if (f.mask >> i & 1 && other.state != DONE &&
            !(other.state == AT_WARP && other.mask == f.mask && other.kind == f.kind))
            return i;
    }
    return -1;
}

// Until no lane can go on without the other warps.
static void run_warp(Fiber* warp, int lanes, const int* order) {
    for (bool again = true; again;) {
        for (int i = 0; i < 32; ++i)
            if (order[i] < lanes && warp[order[i]].state <= READY) resume(warp[order[i]]);
        again = false;
        for (int i = 0; i < lanes; ++i)
            if (warp[i].state == AT_WARP && missing(warp, lanes, warp[i]) < 0) {
                finish(warp, warp[i].mask, warp[i].kind);
                again = true;
            }
    }
}

static void say_state(const Fiber& f) {
    if (f.state == DONE) say("is done");
    else if (f.state == AT_BARRIER) say("is at the barrier of line %d", f.line);
    else say("is at %s of line %d with mask 0x%08x", KINDS[f.kind], f.line, f.mask);
}

// All threads are done or wait: lets a barrier go that all living ones have reached.
static bool pass_barrier() {
    using namespace gg_host;
    const Fiber* first = nullptr;
    int live = 0, set = 0;
    for (int i = 0; i < threads; ++i) {
        const Fiber& f = fibers[i];
        if (f.state == AT_WARP) {
            const int lanes = threads - i / 32 * 32 < 32 ? threads - i / 32 * 32 : 32;
            const Fiber* warp = fibers + i / 32 * 32;
            const int other = missing(warp, lanes, f);
            say_place(&f);
            say_state(f);
            say(", which waits for lane %d, but that ", other);
            say_state(warp[other]);
            siglongjmp(failed, 1);
        }
        if (f.state != AT_BARRIER) continue;
        ++live;
        set += f.value != 0;
        if (!first) first = &f;
        else if (f.line != first->line || f.kind != first->kind) {
            say_place(&f);
            say_state(f);
            say(", but thread (%u, %u, %u) ", first->index.x, first->index.y, first->index.z);
            say_state(*first);
            say("; all threads of a block must meet at one");
            siglongjmp(failed, 1);
        }
    }
    if (!live) return false;
    const int kind = first->kind;
    for (int i = 0; i < threads; ++i)
        if (fibers[i].state == AT_BARRIER) {
            fibers[i].value = kind == COUNT ? set : kind == AND ? set == live : set > 0;
            fibers[i].state = READY;
        }
    return true;
}

static void shuffled(int* order, int n, unsigned long long seed) {
    // 0: forward, 1: backward, else drawn by a linear congruential generator (Knuth's MMIX).
    for (int i = 0; i < n; ++i) order[i] = seed == 1 ? n - 1 - i : i;
    if (seed < 2) return;
    for (int i = n - 1; i > 0; --i) {
        seed = seed * 6364136223846793005ull + 1442695040888963407ull;
        const int j = (int)((seed >> 33) % (i + 1)), kept = order[i];
        order[i] = order[j];
        order[j] = kept;
    }
}

struct Launch {
    const gg_host::Kernel* kernel;
    void** arguments;
    unsigned grid[3], block[3];
    unsigned long long seed;
    unsigned dynamic, seconds;     // bytes of dynamic shared memory; limit of processor time
    unsigned char *fixed, *fixed_end;  // the module's static shared memory
    char* message;
    unsigned message_size;
};

static void run(const Launch& l) {
    const int warps = (threads + 31) / 32;
    int warp_order[32], lane_order[32];
    shuffled(warp_order, warps, l.seed);
    shuffled(lane_order, 32, l.seed);
    const long long blocks = (long long)l.grid[0] * l.grid[1] * l.grid[2];
    for (long long b = 0; b < blocks; ++b) {
        const long long at = l.seed ? blocks - 1 - b : b;
        blockIdx = {(unsigned)(at % l.grid[0]), (unsigned)(at / l.grid[0] % l.grid[1]),
                    (unsigned)(at / ((long long)l.grid[0] * l.grid[1]))};
        memset(l.fixed, RUBBISH, l.fixed_end - l.fixed);
        const unsigned whole = (l.dynamic + PAGE - 1) / PAGE * PAGE;
        memset(gg_host_dynamic, RUBBISH, whole);
        for (int i = 0; i < threads; ++i) fibers[i].state = NEW;
        do {
            for (int w = 0; w < warps; ++w) {
                const int first = 32 * warp_order[w];
                run_warp(fibers + first, threads - first < 32 ? threads - first : 32, lane_order);
            }
        } while (pass_barrier());
        for (unsigned i = l.dynamic; i < whole; ++i)
            if (gg_host_dynamic[i] != RUBBISH) {
                say_place(nullptr);
                say("byte %u of dynamic shared memory was written, it has %u", i, l.dynamic);
                siglongjmp(failed, 1);
            }
    }
}

// 0, or 1 with the reason in the message.
extern "C" int gg_host_launch(const Launch* l) {
    static const int SIGNALS[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGVTALRM};
    static char alternate[64 * 1024];
    kernel = l->kernel;
    arguments = l->arguments;
    message = l->message;
    message_size = l->message_size;
    length = 0;
    owner = pthread_self();
    current = nullptr;
    blockDim = dim3(l->block[0], l->block[1], l->block[2]);
    gridDim = dim3(l->grid[0], l->grid[1], l->grid[2]);
    threads = (int)(l->block[0] * l->block[1] * l->block[2]);
    if (!stacks) {
        void* got = mmap(nullptr, (size_t)MOST * (STACK + PAGE), PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (got == MAP_FAILED) return say("no memory for stacks"), 1;
        stacks = (char*)got;
    }
    free_count = 0;  // a launch that failed has kept some
    for (int i = stacks_made - 1; i >= 0; --i) free_stacks[free_count++] = i;
    for (int i = 0; i < threads; ++i) {
        const unsigned x = blockDim.x, y = blockDim.y, n = (unsigned)i;
        fibers[i].lane = i % 32;
        fibers[i].index = {n % x, n / x % y, n / (x * y)};
    }
    const unsigned whole = (l->dynamic + PAGE - 1) / PAGE * PAGE;
    mprotect(gg_host_dynamic, sizeof gg_host_dynamic, PROT_READ | PROT_WRITE);
    mprotect(gg_host_dynamic + whole, sizeof gg_host_dynamic - whole, PROT_NONE);

    struct sigaction action, before[6];
    memset(&action, 0, sizeof action);
    action.sa_sigaction = on_signal;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    stack_t other, other_before;
    memset(&other, 0, sizeof other);
    other.ss_sp = alternate;
    other.ss_size = sizeof alternate;
    sigaltstack(&other, &other_before);
    for (int i = 0; i < 6; ++i) sigaction(SIGNALS[i], &action, &before[i]);
    itimerval limit = {{0, 0}, {(time_t)l->seconds, 0}}, none = {{0, 0}, {0, 0}};
    setitimer(ITIMER_VIRTUAL, &limit, nullptr);

    const int code = sigsetjmp(failed, 1);
    if (!code) run(*l);

    setitimer(ITIMER_VIRTUAL, &none, nullptr);
    for (int i = 0; i < 6; ++i) sigaction(SIGNALS[i], &before[i], nullptr);
    sigaltstack(&other_before, nullptr);
    return code;
}
