#include "textflag.h"

// func outb(at uint16, value byte)
TEXT ·outb(SB), NOSPLIT, $0-3
	MOVW at+0(FP), DX
	MOVB value+2(FP), AX
	OUTB
	RET
