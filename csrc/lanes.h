/* Sums in a fixed number of lanes, reduced in a fixed order: the same bits at every vector width. */
#ifndef ROMAN_LANES_H
#define ROMAN_LANES_H

#define LANES 8

#define LANES_ZERO(acc)                                                                            \
    do {                                                                                           \
        for (int lane_ = 0; lane_ < LANES; lane_++) (acc)[lane_] = 0;                              \
    } while (0)

#define LANES_SUM(acc) ((((acc)[0] + (acc)[4]) + ((acc)[2] + (acc)[6])) +                          \
                        (((acc)[1] + (acc)[5]) + ((acc)[3] + (acc)[7])))

#endif
