/* The level asked for is honoured where the processor has it, and capped where it has not. */
#include "check.h"
#include "dispatch.h"
#include "roman_status.h"

int main(void)
{
    int widest = roman_effective_level(ROMAN_LEVEL_AUTO);
    CHECK(widest >= ROMAN_LEVEL_BASELINE && widest <= ROMAN_LEVEL_V4);
    CHECK(roman_effective_level(ROMAN_LEVEL_BASELINE) == ROMAN_LEVEL_BASELINE);
    for (int level = ROMAN_LEVEL_BASELINE; level <= ROMAN_LEVEL_V4; level++) {
        CHECK(roman_effective_level(level) == (level < widest ? level : widest));
    }
    CHECK(roman_effective_level(1000) == widest);
    return check_summary("test_dispatch");
}
