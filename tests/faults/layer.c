/* A Vulkan layer under which one call fails.
 *
 * It counts the calls that Vulkan permits to fail, by function, and writes the counts into the file that FAULTS_COUNTS names.
 * FAULTS_FAIL=vkAllocateMemory:3:-2 lets the third call of a function give this VkResult, and never reach the driver. With
 * FAULTS_FAIL=@FILE such a line is in that file, once it is there, and calls count from then on; the call that fails
 * takes the file away. A device that is lost (-4) stays lost.
 *
 * No header of Vulkan's is needed, and no signature: every such function takes at most six integers or pointers, which
 * are handed on as they came. (So it is for 64-bit Unix, where these are passed in registers.)
 */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef uint64_t Word;
typedef int32_t (*Call)(Word, Word, Word, Word, Word, Word);
typedef void (*Any)(void);
typedef Any (*GetProcAddr)(void *, const char *);

enum { DEVICE_LOST = -4 };

/* Functions of an instance, and of a device: those that fail for want of memory, and those that also tell that the device is
 * lost. */
#define INSTANCE_CALLS(X) X(vkEnumeratePhysicalDevices) X(vkEnumerateDeviceExtensionProperties)
#define MEMORY_CALLS(X)                                                                                          \
    X(vkAllocateMemory) X(vkMapMemory) X(vkBindBufferMemory) X(vkBindImageMemory)                                \
    X(vkFlushMappedMemoryRanges) X(vkInvalidateMappedMemoryRanges)                                               \
    X(vkCreateBuffer) X(vkCreateImage) X(vkCreateImageView) X(vkCreateSampler)                                   \
    X(vkCreateFence) X(vkCreateSemaphore) X(vkCreateQueryPool)                                                   \
    X(vkCreateShaderModule) X(vkCreatePipelineCache) X(vkCreatePipelineLayout) X(vkCreateComputePipelines)       \
    X(vkCreateDescriptorSetLayout) X(vkCreateDescriptorPool) X(vkAllocateDescriptorSets)                         \
    X(vkCreateCommandPool) X(vkAllocateCommandBuffers) X(vkResetCommandPool)                                     \
    X(vkBeginCommandBuffer) X(vkEndCommandBuffer) X(vkResetFences)
#define LOST_CALLS(X)                                                                                            \
    X(vkQueueSubmit) X(vkQueueSubmit2) X(vkQueueWaitIdle) X(vkDeviceWaitIdle)                                    \
    X(vkWaitForFences) X(vkGetFenceStatus) X(vkGetQueryPoolResults)                                              \
    X(vkWaitSemaphores) X(vkWaitSemaphoresKHR)                                                                   \
    X(vkGetSemaphoreCounterValue) X(vkGetSemaphoreCounterValueKHR)

#define NUMBER(name) N_##name,
enum { INSTANCE_CALLS(NUMBER) MEMORY_CALLS(NUMBER) LOST_CALLS(NUMBER) N_vkCreateInstance, N_vkCreateDevice, NUMBERS };
#define NAME(name) #name,
static const char *const names[NUMBERS] = {
    INSTANCE_CALLS(NAME) MEMORY_CALLS(NAME) LOST_CALLS(NAME) "vkCreateInstance", "vkCreateDevice"};

static Call next[NUMBERS];
static unsigned counts[NUMBERS];
static int is_lost;
static void *the_device;
static Call wait_idle;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* Which call shall fail, if one shall. */
static int wish(char name[64], unsigned *nth, int *code) {
    const char *fail = getenv("FAULTS_FAIL");
    char line[128] = "";
    if (fail && *fail == '@') {
        FILE *file = fopen(fail + 1, "r");
        if (!file) return 0;
        fail = fgets(line, sizeof line, file);
        fclose(file);
    }
    return fail && sscanf(fail, "%63[^:]:%u:%d", name, nth, code) == 3;
}

/* Counts a call; what it gives if it shall fail. */
static int32_t fault(int number, int tells_of_loss) {
    static unsigned met;
    int32_t result = 0;
    char name[64];
    unsigned nth;
    int code;
    pthread_mutex_lock(&lock);
    counts[number]++;
    if (wish(name, &nth, &code) && !strcmp(name, names[number]) && ++met == nth) {
        result = code;
        const char *fail = getenv("FAULTS_FAIL");
        if (*fail == '@') {
            unlink(fail + 1);
            met = 0;
        }
        if (code == DEVICE_LOST) {
            is_lost = 1;
            /* It does nothing any more, and wgpu frees at once what it used. */
            if (wait_idle) wait_idle((Word)the_device, 0, 0, 0, 0, 0);
        }
    } else if (tells_of_loss && is_lost) {
        result = DEVICE_LOST;
    }
    pthread_mutex_unlock(&lock);
    return result;
}

__attribute__((destructor)) static void write_counts(void) {
    const char *path = getenv("FAULTS_COUNTS");
    FILE *file = path ? fopen(path, "w") : NULL;
    if (!file) return;
    for (int number = 0; number < NUMBERS; number++) {
        int tells_of_loss = (number >= N_vkQueueSubmit && number < N_vkCreateInstance) || number == N_vkCreateDevice;
        if (!counts[number]) continue;
        fprintf(file, "%s %u %s\n", names[number], counts[number], tells_of_loss ? "loss" : "memory");
    }
    fclose(file);
}

#define WRAP(name, tells_of_loss)                                                    \
    static int32_t w_##name(Word a, Word b, Word c, Word d, Word e, Word f) {       \
        int32_t failed = fault(N_##name, tells_of_loss);                            \
        return failed ? failed : next[N_##name](a, b, c, d, e, f);                  \
    }
#define WRAP_MEMORY(name) WRAP(name, 0)
#define WRAP_LOST(name) WRAP(name, 1)
INSTANCE_CALLS(WRAP_MEMORY)
MEMORY_CALLS(WRAP_MEMORY)
LOST_CALLS(WRAP_LOST)

#define WRAPPER(name) w_##name,
static const Call wrappers[] = {INSTANCE_CALLS(WRAPPER) MEMORY_CALLS(WRAPPER) LOST_CALLS(WRAPPER)};

static GetProcAddr next_of_instance, next_of_device;

/* The wrapper of a function among these, if there is one and the driver has it. */
static Any wrapped(int begin, int end, const char *name, GetProcAddr get, void *handle) {
    Any found = get(handle, name);
    for (int number = begin; found && number < end; number++) {
        if (!strcmp(name, names[number])) {
            next[number] = (Call)found;
            return (Any)wrappers[number];
        }
    }
    return found;
}

/* What the loader hands from layer to layer: in a chain of structs, one of this type with this function. */
struct Chain {
    int32_t type;
    struct Chain *next;
    int32_t function;
    struct Link {
        struct Link *next;
        GetProcAddr of_instance, of_device;
    } *link;
};

/* Takes this layer's link out of the chain. */
static struct Link *take_link(const struct Chain *info, int32_t type) {
    for (struct Chain *chain = info->next; chain; chain = chain->next) {
        if (chain->type == type && chain->function == 0) {
            struct Link *link = chain->link;
            chain->link = link->next;
            return link;
        }
    }
    abort();
}

static int32_t create_instance(const struct Chain *info, const void *allocator, void **instance) {
    int32_t failed = fault(N_vkCreateInstance, 0);
    if (failed) return failed;
    next_of_instance = take_link(info, 47)->of_instance;
    Call create = (Call)next_of_instance(NULL, "vkCreateInstance");
    return create((Word)info, (Word)allocator, (Word)instance, 0, 0, 0);
}

static int32_t create_device(void *adapter, const struct Chain *info, const void *allocator, void **device) {
    /* (One that is lost does not keep another from being made.) */
    int32_t failed = fault(N_vkCreateDevice, 0);
    if (failed) return failed;
    struct Link *link = take_link(info, 48);
    next_of_device = link->of_device;
    Call create = (Call)link->of_instance(NULL, "vkCreateDevice");
    int32_t result = create((Word)adapter, (Word)info, (Word)allocator, (Word)device, 0, 0);
    if (result == 0) {
        is_lost = 0;
        the_device = *device;
        wait_idle = (Call)next_of_device(the_device, "vkDeviceWaitIdle");
    }
    return result;
}

static Any of_device(void *device, const char *name) {
    if (!strcmp(name, "vkGetDeviceProcAddr")) return (Any)of_device;
    return wrapped(N_vkAllocateMemory, N_vkCreateInstance, name, next_of_device, device);
}

static Any of_instance(void *instance, const char *name) {
    if (!strcmp(name, "vkGetInstanceProcAddr")) return (Any)of_instance;
    if (!strcmp(name, "vkGetDeviceProcAddr")) return (Any)of_device;
    if (!strcmp(name, "vkCreateInstance")) return (Any)create_instance;
    if (!strcmp(name, "vkCreateDevice")) return (Any)create_device;
    return next_of_instance ? wrapped(0, N_vkAllocateMemory, name, next_of_instance, instance) : NULL;
}

struct Negotiated {
    int32_t type;
    void *next;
    uint32_t version;
    GetProcAddr of_instance, of_device, of_adapter;
};

int32_t vkNegotiateLoaderLayerInterfaceVersion(struct Negotiated *negotiated) {
    negotiated->version = 2;
    negotiated->of_instance = of_instance;
    negotiated->of_device = of_device;
    negotiated->of_adapter = NULL;
    return 0;
}
