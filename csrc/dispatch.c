#include "dispatch.h"

#include "roman_status.h"

static int widest_level(void)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw")) {
        return ROMAN_LEVEL_V4;
    }
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        return ROMAN_LEVEL_V3;
    }
#endif
    return ROMAN_LEVEL_BASELINE;
}

int roman_effective_level(int wanted)
{
    int widest = widest_level();
    return wanted == ROMAN_LEVEL_AUTO || wanted > widest ? widest : wanted;
}
