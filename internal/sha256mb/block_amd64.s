//go:build !purego

#include "textflag.h"

// Two messages side by side with the SHA extensions (Intel SDM, SHA256RNDS2 and following). X0 is the implicit operand of
// SHA256RNDS2, which each use loads anew, so that the processor can rename it.
//
//	message   state    next 16 words   scratch
//	a         X1 X2    X3 to X6        X7
//	b         X8 X9    X10 to X13      X14

// ROUNDS does rounds 4i to 4i+3 of one message with the words in M.
#define ROUNDS(i, S0, S1, M) \
	MOVOU 16*i(AX), X0 \
	PADDD M, X0 \
	SHA256RNDS2 X0, S0, S1 \
	PSHUFD $0x0e, X0, X0 \
	SHA256RNDS2 X0, S1, S0

// WORDS finishes the four words N that come after M. L are those before M.
#define WORDS(N, L, M, T) \
	MOVO M, T \
	PALIGNR $4, L, T \
	PADDD T, N \
	SHA256MSG2 M, N

#define BOTH(i, A, B) \
	ROUNDS(i, X1, X2, A) \
	ROUNDS(i, X8, X9, B)

// STEP does rounds 4i to 4i+3 of both with A0 and B0, finishes A1 and B1, and begins with A3 and B3.
#define STEP(i, A0, A1, A3, B0, B1, B3) \
	ROUNDS(i, X1, X2, A0) \
	WORDS(A1, A3, A0, X7) \
	SHA256MSG1 A0, A3 \
	ROUNDS(i, X8, X9, B0) \
	WORDS(B1, B3, B0, X14) \
	SHA256MSG1 B0, B3

// LOAD loads a block as big-endian words.
#define LOAD(P, M0, M1, M2, M3) \
	MOVOU (P), M0 \
	MOVOU 16(P), M1 \
	MOVOU 32(P), M2 \
	MOVOU 48(P), M3 \
	PSHUFB X15, M0 \
	PSHUFB X15, M1 \
	PSHUFB X15, M2 \
	PSHUFB X15, M3

// func block2(a, b *[8]uint32, p, q *byte, n int)
TEXT ·block2(SB), NOSPLIT, $64-40
	MOVQ a+0(FP), DI
	MOVQ b+8(FP), SI
	MOVQ p+16(FP), BX
	MOVQ q+24(FP), DX
	MOVQ n+32(FP), CX
	TESTQ CX, CX
	JZ done
	LEAQ ·constants(SB), AX
	MOVOU ·flip(SB), X15
	MOVOU (DI), X1
	MOVOU 16(DI), X2
	MOVOU (SI), X8
	MOVOU 16(SI), X9

loop:
	MOVOU X1, 0(SP)
	MOVOU X2, 16(SP)
	MOVOU X8, 32(SP)
	MOVOU X9, 48(SP)
	LOAD(BX, X3, X4, X5, X6)
	LOAD(DX, X10, X11, X12, X13)
	BOTH(0, X3, X10)
	BOTH(1, X4, X11)
	SHA256MSG1 X4, X3
	SHA256MSG1 X11, X10
	BOTH(2, X5, X12)
	SHA256MSG1 X5, X4
	SHA256MSG1 X12, X11
	STEP(3, X6, X3, X5, X13, X10, X12)
	STEP(4, X3, X4, X6, X10, X11, X13)
	STEP(5, X4, X5, X3, X11, X12, X10)
	STEP(6, X5, X6, X4, X12, X13, X11)
	STEP(7, X6, X3, X5, X13, X10, X12)
	STEP(8, X3, X4, X6, X10, X11, X13)
	STEP(9, X4, X5, X3, X11, X12, X10)
	STEP(10, X5, X6, X4, X12, X13, X11)
	STEP(11, X6, X3, X5, X13, X10, X12)
	STEP(12, X3, X4, X6, X10, X11, X13)
	STEP(13, X4, X5, X3, X11, X12, X10)
	STEP(14, X5, X6, X4, X12, X13, X11)
	BOTH(15, X6, X13)
	MOVOU 0(SP), X0
	PADDD X0, X1
	MOVOU 16(SP), X0
	PADDD X0, X2
	MOVOU 32(SP), X0
	PADDD X0, X8
	MOVOU 48(SP), X0
	PADDD X0, X9
	ADDQ $64, BX
	ADDQ $64, DX
	DECQ CX
	JNZ loop

	MOVOU X1, (DI)
	MOVOU X2, 16(DI)
	MOVOU X8, (SI)
	MOVOU X9, 16(SI)

done:
	RET

// func cpuid(leaf uint32) (a, b, c uint32)
TEXT ·cpuid(SB), NOSPLIT, $0-20
	MOVL leaf+0(FP), AX
	XORL CX, CX
	CPUID
	MOVL AX, a+8(FP)
	MOVL BX, b+12(FP)
	MOVL CX, c+16(FP)
	RET

// func xgetbv() uint32
TEXT ·xgetbv(SB), NOSPLIT, $0-4
	XORL CX, CX
	XGETBV
	MOVL AX, ret+0(FP)
	RET

// flip turns the bytes of four words around.
DATA ·flip+0(SB)/8, $0x0405060700010203
DATA ·flip+8(SB)/8, $0x0c0d0e0f08090a0b
GLOBL ·flip(SB), RODATA|NOPTR, $16

// The constants of FIPS 180-4, section 4.2.2, two in each line.
DATA ·constants+0(SB)/8, $0x71374491428a2f98
DATA ·constants+8(SB)/8, $0xe9b5dba5b5c0fbcf
DATA ·constants+16(SB)/8, $0x59f111f13956c25b
DATA ·constants+24(SB)/8, $0xab1c5ed5923f82a4
DATA ·constants+32(SB)/8, $0x12835b01d807aa98
DATA ·constants+40(SB)/8, $0x550c7dc3243185be
DATA ·constants+48(SB)/8, $0x80deb1fe72be5d74
DATA ·constants+56(SB)/8, $0xc19bf1749bdc06a7
DATA ·constants+64(SB)/8, $0xefbe4786e49b69c1
DATA ·constants+72(SB)/8, $0x240ca1cc0fc19dc6
DATA ·constants+80(SB)/8, $0x4a7484aa2de92c6f
DATA ·constants+88(SB)/8, $0x76f988da5cb0a9dc
DATA ·constants+96(SB)/8, $0xa831c66d983e5152
DATA ·constants+104(SB)/8, $0xbf597fc7b00327c8
DATA ·constants+112(SB)/8, $0xd5a79147c6e00bf3
DATA ·constants+120(SB)/8, $0x1429296706ca6351
DATA ·constants+128(SB)/8, $0x2e1b213827b70a85
DATA ·constants+136(SB)/8, $0x53380d134d2c6dfc
DATA ·constants+144(SB)/8, $0x766a0abb650a7354
DATA ·constants+152(SB)/8, $0x92722c8581c2c92e
DATA ·constants+160(SB)/8, $0xa81a664ba2bfe8a1
DATA ·constants+168(SB)/8, $0xc76c51a3c24b8b70
DATA ·constants+176(SB)/8, $0xd6990624d192e819
DATA ·constants+184(SB)/8, $0x106aa070f40e3585
DATA ·constants+192(SB)/8, $0x1e376c0819a4c116
DATA ·constants+200(SB)/8, $0x34b0bcb52748774c
DATA ·constants+208(SB)/8, $0x4ed8aa4a391c0cb3
DATA ·constants+216(SB)/8, $0x682e6ff35b9cca4f
DATA ·constants+224(SB)/8, $0x78a5636f748f82ee
DATA ·constants+232(SB)/8, $0x8cc7020884c87814
DATA ·constants+240(SB)/8, $0xa4506ceb90befffa
DATA ·constants+248(SB)/8, $0xc67178f2bef9a3f7
GLOBL ·constants(SB), RODATA|NOPTR, $256
