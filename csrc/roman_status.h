/* Status codes of every kernel, and the vector levels a caller may force. */
#ifndef ROMAN_STATUS_H
#define ROMAN_STATUS_H

enum {
    ROMAN_OK = 0,
    ROMAN_ERR_ARGUMENT = 1,    /* an argument is outside its range */
    ROMAN_ERR_MEMORY = 2,      /* the work space could not be allocated */
    ROMAN_ERR_CONVERGENCE = 3, /* the iteration limit was reached; outputs hold the last iterate */
    ROMAN_ERR_SINGULAR = 4     /* the data do not constrain the parameters */
};

enum {
    ROMAN_LEVEL_AUTO = 0,     /* the widest level this processor has */
    ROMAN_LEVEL_BASELINE = 1, /* what every processor of the architecture has */
    ROMAN_LEVEL_V3 = 2,       /* x86-64 with AVX2 and FMA */
    ROMAN_LEVEL_V4 = 3        /* x86-64 with AVX-512 */
};

#endif
